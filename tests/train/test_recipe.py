"""Recipes: those that ship are right, and a wrong one hears of all its faults at once."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from geryon.errors import InputError, UsageError
from geryon.train.recipe import parse_recipe, read_recipe, schema
from geryon.train.source import ALLOWED, SOURCES

LISTS = "held_out.yaml"
RECIPES = sorted(p for p in (Path(__file__).parents[2] / "recipes").glob("*.yaml") if p.name != LISTS)
GOOD = """
name: a
licence: open
tasks: [nuclei, tissue]
sources:
  - {name: free, share: 2}
train: {steps: 10, lr: 1e-3, map_weights: {nuclei/inside: 2}, augment: {strength: 0.5}}
"""


@pytest.fixture(autouse=True)
def _sources(monkeypatch):
    uses = {"free": "open", "studied": "research", "judged": "evaluate"}
    fakes = {
        name: SimpleNamespace(name=name, use=use, licence=f"terms of {name}", citation="") for name, use in uses.items()
    }
    monkeypatch.setitem(sys.modules, "fake_sources", SimpleNamespace(**fakes))
    for name in fakes:
        monkeypatch.setitem(SOURCES, name, f"fake_sources:{name}")


def fault(text):
    with pytest.raises(UsageError) as caught:
        parse_recipe(text)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_are_whole(path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem and recipe.sources
    uses = {source.use for source in recipe.source_values()}
    assert uses <= set(ALLOWED[recipe.licence])
    assert recipe.train.batch >= len(recipe.sources), "each batch is the mixture"


def test_recipes_that_ship():
    ours = ["geryon-b", "geryon-b-research", "geryon-s", "geryon-s-research"]
    assert sorted(p.stem for p in RECIPES) == [*ours, "own-glands", "own-nuclei"]


@pytest.mark.parametrize("name", ["geryon-b", "geryon-b-research"])
def test_recipes_of_the_larger_network_learn_what_the_smaller_does(name):
    larger, smaller = (read_recipe(RECIPES[0].with_name(f"{n}.yaml")) for n in (name, name.replace("-b", "-s")))
    assert larger.net.name == "geryon-b" and larger.net.start == "imagenet"
    for field in ("licence", "tasks", "cut", "sources", "split"):
        assert getattr(larger, field) == getattr(smaller, field)


@pytest.mark.parametrize(("name", "held_out"), [("geryon-s", 4), ("geryon-s-research", 7)])
def test_the_shipped_recipes_hold_out_their_lists(name, held_out):
    [path] = [path for path in RECIPES if path.stem == name]
    lists = read_recipe(path).split.held_out
    assert len(lists) == held_out and lists["tnbc"] == ("03", "06", "09")
    assert len(lists["consep"]) == 9 and len(lists["ebhi_seg"]) == 75 and len(lists["kather_crc"]) == 40
    assert held_out < 7 or (lists["glas"] == ("testA*",) and len(lists["crchistophenotypes"]) == 26)


def test_a_good_recipe_is_read_with_its_defaults():
    recipe = parse_recipe(GOOD)
    assert (
        recipe.train.lr == 1e-3
        and recipe.train.augment.strength == 0.5
        and recipe.train.map_weights["nuclei/inside"] == 2
    )
    assert recipe.tasks == ("nuclei", "tissue") and recipe.net.name == "geryon-s" and recipe.sources[0].share == 2


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("name: a", "name: a\nnmae: b", "nmae"),
        ("share: 2", "shaer: 2", "sources[0].shaer"),
        ("steps: 10", "stepps: 10", "train.stepps"),
        ("strength: 0.5", "strenght: 0.5", "train.augment.strenght"),
        ("tasks:", "net: {nam: x}\ntasks:", "net.nam"),
        ("tasks:", "split: {sed: 1}\ntasks:", "split.sed"),
    ],
)
def test_a_misspelt_key_is_refused_at_every_depth(old, new, place):
    assert f"{place}: there is no such setting" in fault(GOOD.replace(old, new, 1))


def test_no_object_of_the_schema_takes_unknown_keys_and_every_field_is_described():
    document = json.loads(schema())
    objects = [document, *document["$defs"].values()]
    assert len(objects) == 7
    assert all(o["additionalProperties"] is False for o in objects)
    fields = [f for o in objects for f in o["properties"].values()]
    assert sum("description" in f for f in fields) > 0.5 * len(fields)


def test_all_faults_are_told_at_once_each_with_its_place():
    said = fault("""
licence: open
tasks: [nuclei, bones]
net: {name: giant}
sources: [{name: studied}, {name: nowhere}, {name: free, share: many}]
train: {steps: 0, lr: -1, batchs: 3}
""")
    for part in (
        "name: is missing",
        "tasks[1]: no task is called 'bones'",
        "net.name: no topology is called 'giant'",
        "sources[0].name: studied is for research (terms of studied), the recipe's licence is open",
        "sources[1].name: no source is called 'nowhere'",
        "sources[2].share: ",
        "train.batchs: there is no such setting",
    ):
        assert part in said
    assert "train: steps is 0, must be at least 1; lr is -1.0" in fault(
        GOOD.replace("steps: 10, lr: 1e-3", "steps: 0, lr: -1")
    )


def test_the_licence_decides_about_sources():
    research = GOOD.replace("licence: open", "licence: research")
    assert parse_recipe(research.replace("name: free", "name: studied")).licence == "research"
    assert "judged is for evaluate" in fault(research.replace("name: free", "name: judged"))
    assert "licence" in fault(GOOD.replace("licence: open", "licence: any"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("nuclei/inside", "nuclei/outside", "train.map_weights.nuclei/outside: no map is called"),
        ("steps: 10", "steps: 10, shares: {free: 1}", "train.shares: write each source's share beside its name"),
        ("steps: 10", "map_losses: {nuclei/rim: mse}", "train.map_losses.nuclei/rim: no map is called"),
        ("steps: 10", "apart: [paid], apart_every: 4", "train.apart: no source of this recipe is called 'paid'"),
        ("tasks: [nuclei, tissue]", "tasks: [nuclei, nuclei]", "tasks: nuclei stands twice"),
        ("tasks: [nuclei, tissue]", "tasks: []", "tasks: names no task"),
        ("name: a", "name: ../a", "name: "),
        ("name: a", "name: a\nname: b", "double key name"),
        ("name: a", "name: [", "is no YAML"),
        ("name: a", "- name", "is no YAML"),
    ],
)
def test_other_faults(old, new, says):
    assert says in fault(GOOD.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "- a", "just words", "!!python/object/apply:os.system ['true']"])
def test_what_is_no_mapping_is_refused(text):
    assert fault(text)


def test_a_recipe_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="none.yaml"):
        read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["this_attack:run", "geryon.train.this_attack:run"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[nuclei, tissue]", "[nuclei, '{}']"),
        ("{name: free, share: 2}", "{name: '{}'}"),
        ("train:", "net: {name: '{}'}\ntrain:"),
        ("train:", "cut: ['{}']\ntrain:"),
    ],
)
def test_a_recipe_is_a_file_too_and_can_not_say_what_is_imported(tmp_path, monkeypatch, old, new, name):
    hit = tmp_path / "hit"
    (tmp_path / "this_attack.py").write_text(f"open({str(hit)!r}, 'w').close()\nrun = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("geryon.train.__path__", [*sys.modules["geryon.train"].__path__, str(tmp_path)])
    text = GOOD.replace(old, new.replace("{}", name), 1)
    if "cut:" in text:
        parse_recipe(text).task_values()
    else:
        assert "is called" in fault(text)
    assert not hit.exists()
