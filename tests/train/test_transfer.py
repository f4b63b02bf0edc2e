"""Transfer: what is frozen stays bit by bit, what is learnt stands beside it, and the shipped recipes run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geryon.errors import UsageError
from geryon.nets import weights
from geryon.nets.model import heads_of, load_model
from geryon.nets.topologies import geryon_s
from geryon.nets.weights import ModelDocument, SourceDocument, save_model, task_document
from geryon.tasks.task import get_task, with_classes
from geryon.train import learner as learners
from geryon.train import own
from geryon.train.begin import build
from geryon.train.check import check, start_document
from geryon.train.fit import Where, fit
from geryon.train.pack import sample_of
from geryon.train.recipe import Recipe, parse_recipe, read_recipe
from geryon.train.sources import synthetic_signet
from geryon.train.splits import LEFT_OUT, TRAIN, VALIDATION, First, Item, Split, sides
from geryon.train.transfer import plan
from tests.conftest import ROOT
from tests.train import fakes, own_fakes

RECIPES = {path.stem: path for path in sorted((ROOT / "recipes" / "transfer").glob("*.yaml"))}
SETTINGS = {"encoder": "plain", "decoder": (8, 8, 8, 8, 8)}
OLD = ("nuclei", "glands", "lumina", "tissue")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of our four tasks with random weights."""
    tasks = [get_task(name) for name in OLD]
    tasks[0] = with_classes(tasks[0], tasks[0].classes.cut())
    torch.manual_seed(5)
    network = geryon_s.build(SETTINGS, heads_of(tasks, 0.5))
    document = ModelDocument(
        name="before",
        version="1",
        topology="geryon-s",
        settings=SETTINGS,
        tasks=tuple(task_document(t) for t in tasks),
        sources=(SourceDocument(name="old", licence="theirs", use="open", samples=7),),
    )
    path = tmp_path_factory.mktemp("start") / "before.safetensors"
    save_model(path, {name: value.numpy() for name, value in network.state_dict().items()}, document)
    return path


def class_folders(root: Path) -> None:
    stages = ("normal", "polyp", "serrated_adenoma", "low_grade_in", "high_grade_in", "adenocarcinoma")
    for k, stage in enumerate(stages):
        fakes.image(root / "images" / stage / f"GT{k}-1-400-001.jpg", k)
        fakes.image(root / "images" / stage / f"GTx{k}-1-400-001.jpg", k)


MAKERS = {**fakes.MAKERS, "stages": class_folders, "synthetic_signet": lambda root: root.mkdir(exist_ok=True)}


def short(path: Path, start: Path, **more: object) -> Recipe:
    """The recipe for two steps from the small model."""
    recipe = read_recipe(path)
    train = replace(recipe.train, steps=2, batch=2, crop_px=64, threads=0, device="cpu", precision="float32")
    split = Split(validation=0.0)
    return replace(recipe, net=replace(recipe.net, start=str(start)), train=train, split=split, **more)


@pytest.fixture
def _small_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("SLIDES", 1), ("CASES_A_SLIDE", 1), ("DRAWS", 1), ("SIDE_PX", 256)):
        monkeypatch.setattr(synthetic_signet, name, few)


@pytest.mark.parametrize("path", RECIPES.values(), ids=lambda p: p.stem)
def test_shipped_recipes_fit_the_shipped_models(path: Path) -> None:
    assert check(path, data=Path(), files=False).recipe.train.batch >= 8


@pytest.mark.usefixtures("_small_slides")
@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_run_for_two_steps(name: str, start: Path, tmp_path: Path) -> None:
    recipe = short(RECIPES[name], start)
    for choice in recipe.sources:
        MAKERS[choice.name](tmp_path / (choice.root or choice.name))
    fitted = fit(recipe, out=tmp_path / "run", where=Where(data=tmp_path))
    assert fitted.model is not None
    model = load_model(fitted.model, engine="cpu")
    before, after = weights.read_tensors(start), weights.read_tensors(fitted.model)
    if recipe.net.freeze is not True:
        assert [t.name for t in model.tasks] == ["tissue"] and model.tasks[0].class_names[1] == "polyp"
        frozen = [k for k in before if k.startswith("encoder.")]
        assert frozen and all(np.array_equal(before[k], after[k]) for k in frozen)
        assert not np.array_equal(before["lateral.4.weight"], after["lateral.4.weight"])
        return
    assert [t.name for t in model.tasks] == [*OLD, *(t for t in recipe.tasks if t not in OLD)]
    assert fitted.added.startswith("heads added to before: nuclei, glands, lumina")
    for key in set(before) & set(after):
        assert np.array_equal(before[key][: len(after[key])], after[key]), key
    assert set(after) - set(before), "something was learnt"
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    said, says = maps_of(start, image), maps_of(fitted.model, image)
    taught = plan(recipe, start_document(recipe)).losses
    assert set(taught) <= set(says) and set(says) == set(said) | set(taught)
    assert all(torch.equal(said[k], says[k]) for k in said if k not in taught), "one pass gives all"
    assert "old" in [s.name for s in model.document.sources]
    for task in recipe.task_values():
        assert model.tasks[[t.name for t in model.tasks].index(task.name)].class_names == task.class_names


def maps_of(path: Path, image: torch.Tensor) -> dict[str, torch.Tensor]:
    document = weights.read_document(path)
    network = geryon_s.build(document.settings, heads_of(document.task_values(), 0.5)).eval()
    state = {k: torch.from_numpy(v.astype(np.float32)) for k, v in weights.read_tensors(path).items()}
    network.load_state_dict(state, strict=False)
    with torch.inference_mode():
        return network(image)


TYPES = """
name: types
licence: open
tasks: [nuclei]
classes: {nuclei: [round, long, other]}
net: {start: START, freeze: true}
sources: [{name: consep}]
"""


def test_new_classes_leave_where_objects_are(start: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(TYPES.replace("START", str(start)))
    made = plan(recipe, start_document(recipe))
    assert made.losses == {"nuclei/class": "class_cross_entropy"}
    assert made.settings["apart"] == ["nuclei/class"]
    network = build(recipe, made, lambda event: None).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    before = maps_of(start, image)
    with torch.inference_mode():
        after = network(image)
    assert after["nuclei/class"].shape[1] == 3
    assert all(torch.equal(before[k], after[k]) for k in before if k != "nuclei/class")
    sure = {name: {"score_shift": 0.5} for name in ("nuclei", "glands")}
    assert plan(recipe, replace(start_document(recipe), calibration=sure)).calibration == {"glands": sure["glands"]}
    again = replace(recipe, classes={"nuclei": ("a", "b")})
    assert plan(again, replace(start_document(recipe), settings=made.settings)).settings == made.settings


def test_a_new_task_has_a_decoder_of_its_own_which_alone_learns(start: Path) -> None:
    text = TYPES.replace("START", str(start)).replace("[nuclei]", "[signet_ring]")
    recipe = parse_recipe(text.replace("classes: {nuclei: [round, long, other]}\n", ""))
    made = plan(recipe, start_document(recipe))
    assert made.settings["branches"] == ["signet_ring"]
    network = build(recipe, made, lambda event: None)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    some = network(images, {"signet_ring": torch.tensor([0, 2])})
    assert {k: tuple(v.shape) for k, v in some.items()} == dict.fromkeys(
        ("signet_ring/inside", "signet_ring/depth"), (2, 1, 32, 32)
    )
    some["signet_ring/inside"].square().sum().backward()
    asked = {k for k, p in network.named_parameters() if p.grad is not None}
    assert {k.split(".")[0] for k in asked} == {"branch", "hidden", "out"}
    assert all(k.split(".")[1] == "signet_ring@4" for k in asked)


def test_what_is_frozen_gets_no_gradient_and_its_norms_learn_nothing(start: Path) -> None:
    recipe = parse_recipe(TYPES.replace("START", str(start)))
    made = plan(recipe, start_document(recipe))
    place = learners.choose_place(replace(recipe.train, device="cpu", precision="float32"))
    learner = learners.set_up(build(recipe, made, lambda event: None), recipe.train, place)
    norms = {k: v.clone() for k, v in learner.network.state_dict().items() if "running" in k}
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    learner.network(images, {"nuclei": torch.arange(2)})["nuclei/class"].square().sum().backward()
    asked = {k for k, p in learner.network.named_parameters() if p.grad is not None}
    assert asked and all(k.split(".")[1] == "nuclei@2:class" for k in asked)
    assert sum(len(g["params"]) for g in learner.optimizer.param_groups) == len(asked)
    moved = {k for k, v in learner.network.state_dict().items() if "running" in k and not torch.equal(v, norms[k])}
    assert moved and all("nuclei@2:class" in k for k in moved)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("tasks: [nuclei]\nclasses: {nuclei: [round, long, other]}", "tasks: [lumina]", "lumina of the frozen model"),
        ("START,", "START, settings: {encoder: lite0},", "net.settings: the frozen model has others"),
        ("net:", "mpp: 0.25\nnet:", "mpp: the frozen model sees 0.5"),
        ("freeze: true", "freeze: [encodr]", "no weight's name begins with encodr"),
        ("START, freeze: true", "START, freeze: [hidden]", "does not have"),
        ("start: START, ", "", "net.freeze: true needs a model"),
        ("start: START, freeze: true", "freeze: [encoder]", "no net.start whose weights"),
        ("nuclei: [round", "glands: [round", "classes.glands: is none of the recipe's tasks"),
        ("[round, long, other]", "[round, round]", "none may stand twice"),
        ("{nuclei: [round, long, other]}", "{nuclei: {a: [b], c: [b]}}", "none may stand twice"),
        ("name: consep", "name: consep, first: -1", "sources[0].first"),
    ],
)
def test_faults_of_a_transfer_are_told_before_it_starts(start: Path, old: str, new: str, says: str) -> None:
    assert old in TYPES
    text = TYPES.replace(old, new).replace("START", str(start))
    if "hidden" in new:
        text = text.replace("classes: {nuclei: [round, long, other]}", "classes: {nuclei: [a]}").replace(
            "[nuclei]", "[nuclei, signet_ring]"
        )
    with pytest.raises(UsageError) as told:
        check(parse_recipe(text), data=Path(), files=False)
    assert says in str(told.value)


def test_first_takes_the_same_groups_again_more_hold_fewer_and_validation_stays() -> None:
    items = [
        Item(source=source, group=f"{i}", name=f"{i}{part}", stratum="ab"[i % 2])
        for source in ("few", "all")
        for i in range(20)
        for part in "xy"
    ]
    split = Split(validation=0.2)

    def of(first: dict[str, int], side: str, source: str = "few") -> set[str]:
        placed = sides(items, split, First(groups=first))
        return {i.group for i, s in zip(items, placed, strict=True) if (i.source, s) == (source, side)}

    two, five = of({"few": 2}, TRAIN), of({"few": 5}, TRAIN)
    assert len(two) == 2 and len(five) == 5 and two < five < of({}, TRAIN)
    assert {int(group) % 2 for group in two} == {0, 1}, "both strata"
    assert of({"few": 2}, VALIDATION) == of({}, VALIDATION) and len(of({"few": 2}, LEFT_OUT)) == 14
    assert of({"few": 2}, TRAIN, "all") == of({}, TRAIN, "all")
    seeds = {tuple(sides(items, split, First(groups={"few": 2}, seed=seed))) for seed in range(5)}
    assert len(seeds) > 1, "another seed, other groups"


def test_a_run_says_what_it_left_out_and_does_not_go_on_with_more(start: Path, tmp_path: Path) -> None:
    MAKERS["consep"](tmp_path / "consep")
    recipe = short(RECIPES["nucleus_types_outlines"], start)
    few = replace(recipe, sources=(replace(recipe.sources[0], first=1, scales=(1.0,)),))
    fitted = fit(few, out=tmp_path / "run", where=Where(data=tmp_path))
    said = {s.name: s.samples for s in weights.read_document(fitted.model).sources}
    assert said == {"consep": 1, "old": 7}
    with pytest.raises(UsageError, match="left out before, train now"):
        more = replace(few, sources=(replace(few.sources[0], first=0),))
        fit(more, out=tmp_path / "run", where=Where(data=tmp_path))


@pytest.mark.parametrize(("known", "everywhere"), [("image", True), ("objects", False)])
def test_a_labs_own_boxes_teach_signet_ring_cells(tmp_path: Path, known: str, everywhere: bool) -> None:
    said = {**own_fakes.boxes_csv(tmp_path), "task": "signet_ring", "classes": {}, "known": known}
    source = own.source_of(own.OwnChoice(name="mine", **said), mpp=0.5)
    sample = sample_of(next(source.cases(tmp_path)), "mine", [get_task("signet_ring")])
    inside, weight = sample.targets["signet_ring/inside"][..., 0], sample.weights["signet_ring/inside"]
    assert inside[7, 7] == 255 and inside[36, 35] == 255 and inside[45, 5] == 0
    assert bool(weight[45, 5]) is everywhere and weight[7, 7] and not weight[60:].any()
