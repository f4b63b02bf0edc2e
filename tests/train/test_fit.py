"""The story of a fit: split by patient, learn, save what can be opened again, with its terms."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from geryon.errors import InputError, UsageError
from geryon.events import Warned
from geryon.nets import weights
from geryon.nets.model import heads_of
from geryon.nets.network import filled
from geryon.tasks.task import Labelled, get_task
from geryon.train import fit as module
from geryon.train import split_file, splits
from geryon.train.begin import build, start_from
from geryon.train.fit import Where, check_sources, fit, split_samples
from geryon.train.packed import Sample
from geryon.train.recipe import Split, parse_recipe
from geryon.train.source import SOURCES, Case
from geryon.train.transfer import plan

RECIPE = """
name: small
licence: research
tasks: [lumina]
net: {name: geryon-s, settings: {encoder: plain, decoder: [4, 4, 4, 4, 4]}}
sources: [{name: free}, {name: studied, share: 2}]
train: {steps: 2, batch: 3, crop_px: 64, threads: 0, log_steps: 1, device: cpu, precision: float32}
"""


def sample(i, source):
    rng = np.random.default_rng(i)
    heads = heads_of([get_task("lumina")], 0.5)
    sides = {h.name: 64 // h.stride for h in heads}
    return Sample(
        source=source,
        name=f"{source}{i}",
        group=f"patient {i // 2}",
        image=rng.integers(0, 256, (64, 64, 3), dtype=np.uint8),
        targets={h.name: rng.integers(0, 2, (sides[h.name],) * 2 + (h.channels,), dtype=np.uint8) * 255 for h in heads},
        weights={name: np.full((side, side), 32, np.uint8) for name, side in sides.items()},
    )


@pytest.fixture
def samples():
    return [sample(i, source) for source in ("free", "studied") for i in range(8)]


def absent(root):
    """The cases of a source whose files are not at hand, as on a machine that has the pack only."""
    raise InputError(what="is not there", where=str(root))


@pytest.fixture(autouse=True)
def _pack(monkeypatch, samples):
    uses = {"free": "open", "studied": "research"}
    fakes = {
        n: SimpleNamespace(
            name=n, use=u, licence=f"terms of {n}", citation=f"{n} 2020", facts="", holds=(), cases=absent
        )
        for n, u in uses.items()
    }
    monkeypatch.setitem(sys.modules, "fake_sources", SimpleNamespace(**fakes))
    for name in fakes:
        monkeypatch.setitem(SOURCES, name, f"fake_sources:{name}")
    monkeypatch.setattr(module, "load_pack", lambda path: samples)


@pytest.fixture
def where(tmp_path):
    (tmp_path / "made.pack").touch()
    return Where(samples=tmp_path / "made.pack")


def test_sides_are_saved_and_no_patient_is_on_both(samples, tmp_path):
    recipe = replace(parse_recipe(RECIPE), split=Split(validation=0.25, held_out={"free": ("patient 1",)}))
    learning, checking = split_samples(samples, recipe, tmp_path, lambda event: None)
    assert len(learning) + len(checking) == len(samples) - 2 and checking
    assert not {(s.source, s.group) for s in learning} & {(s.source, s.group) for s in checking}
    assert {s.source for s in checking} == {"free", "studied"}
    saved = split_file.read(tmp_path / split_file.FILE)
    assert split_file.names_of(saved, "free", splits.HELD_OUT) == {"free2", "free3"}
    with pytest.raises(UsageError, match="nothing for validation"):
        split_samples(samples[:2], recipe, tmp_path / "other", lambda event: None)


def test_a_fit_leaves_a_model_that_opens_with_its_terms(tmp_path, where):
    fitted = fit(parse_recipe(RECIPE), out=tmp_path / "run", where=where)
    assert fitted.model == tmp_path / "run" / "small.safetensors"
    document = weights.read_document(fitted.model)
    assert document.use == "research" and [s.licence for s in document.sources] == ["terms of free", "terms of studied"]
    assert [s.samples for s in document.sources] == [8, 8]
    assert document.training["steps"] == 2
    assert 0 < document.training["validation"]["lumina/inside loss"] < 10
    assert 0 <= document.training["validation"]["lumina/inside dice"] <= 1
    network = filled(document, weights.read_tensors(fitted.model), heads_of(document.task_values(), document.mpp))
    assert network(torch.zeros(1, 3, 64, 64))["lumina/inside"].shape[1] == 1
    assert fitted.sha256 in fitted.card.read_text() and "terms of studied" in fitted.card.read_text()


def test_a_fit_is_measured_on_images_that_it_did_not_learn_from(tmp_path, monkeypatch, where, samples):
    def cases(root):
        assert root == tmp_path / "data" / "free"
        for s in samples[:8]:
            lumen = np.zeros((64, 64), np.int32)
            lumen[8:40, 8:40] = 1
            yield Case(
                name=s.name,
                group=s.group,
                image=lambda s=s: s.image,
                mpp=0.5,
                labels={"lumina": lambda lumen=lumen: Labelled(objects=lumen)},
            )

    sys.modules["fake_sources"].free.cases = cases
    recipe = parse_recipe(RECIPE + "split: {validation: 0.5, held_out: {free: [patient 0]}}\n")
    told = []
    fitted = fit(recipe, out=tmp_path / "run", where=replace(where, data=tmp_path / "data", images=1), tell=told.append)
    written = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    parts = [(each["source"], each["split"], each["images"], each["of"]) for each in written["images"]]
    assert parts == [("free", "validation", 1, 4), ("free", "held out", 1, 2)]
    rows = {(row["split"], row["metric"]) for row in written["rows"] if row["task"] == "lumina"}
    assert {("validation", "object_f1"), ("held out", "object_hausdorff_px")} <= rows
    assert written["sha256"] == fitted.sha256 == weights.file_sha256(fitted.model)
    assert "held out" in fitted.card.read_text(encoding="utf-8")
    assert len(list((tmp_path / "run" / "overlays").rglob("*_lumina.jpg"))) == 2
    assert [e.text for e in told if isinstance(e, Warned) and "no figures on studied" in e.text]


def test_a_fit_warns_where_one_source_holds_images_of_another(tmp_path, where, monkeypatch):
    monkeypatch.setattr(sys.modules["fake_sources"].free, "holds", ("studied",))
    told = []
    fit(parse_recipe(RECIPE), out=tmp_path, where=replace(where, stop=lambda: True), tell=told.append)
    texts = [event.text for event in told if isinstance(event, Warned)]
    assert texts[0].startswith("free holds images of studied again")


def test_a_stopped_fit_goes_on_to_the_same_bytes(tmp_path, where):
    torch.set_num_threads(1)
    whole = fit(parse_recipe(RECIPE), out=tmp_path / "whole", where=where)
    asked = iter([False, True])
    cut = fit(parse_recipe(RECIPE), out=tmp_path / "cut", where=replace(where, stop=lambda: next(asked)))
    assert cut.model is None and cut.step == 1
    assert fit(parse_recipe(RECIPE), out=tmp_path / "cut", where=where).sha256 == whole.sha256


def test_a_pack_with_sources_that_nobody_named_is_refused(samples):
    alone = parse_recipe(RECIPE.replace("[{name: free}, {name: studied, share: 2}]", "[{name: free}]"))
    with pytest.raises(UsageError, match="studied"):
        check_sources(samples, alone)


def test_a_pack_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.pack"):
        fit(parse_recipe(RECIPE), out=tmp_path, where=Where(samples=tmp_path / "none.pack"))


def test_a_model_can_start_from_another(tmp_path, where):
    fitted = fit(parse_recipe(RECIPE), out=tmp_path / "a", where=where)
    wider = parse_recipe(RECIPE.replace("[lumina]", "[lumina, glands]").replace("encoder: plain", "encoder: plain"))
    network = build(wider, plan(wider, None), lambda event: None)
    taken = start_from(network, weights.read_tensors(fitted.model), "small")
    assert 0 < taken < len(network.state_dict())
    kernel = weights.read_tensors(fitted.model)["lateral.0.weight"].astype(np.float32)
    assert np.array_equal(network.state_dict()["lateral.0.weight"].numpy(), kernel)


def started(tmp_path, licence, *, use):
    """A recipe that starts from a model file of that use, written beside it."""
    recipe = parse_recipe(RECIPE.replace("licence: research", f"licence: {licence}"))
    network = build(recipe, plan(recipe, module.start_document(recipe)), lambda event: None)
    sources = tuple(
        weights.SourceDocument(name=name, licence=f"terms of {name}", use=use, samples=7) for name in ("old", "free")
    )
    document = weights.ModelDocument(
        name="before",
        version="3",
        topology="geryon-s",
        settings=dict(recipe.net.settings),
        tasks=tuple(weights.task_document(task) for task in recipe.task_values()),
        sources=sources,
        use=use,
        held_out={"free": ("1", "2"), "old": ("3",)},
    )
    path = tmp_path / "before.safetensors"
    weights.save_model(path, {k: v.numpy() for k, v in network.state_dict().items()}, document)
    return replace(recipe, net=replace(recipe.net, start=str(path)))


OPEN = RECIPE.replace("[{name: free}, {name: studied, share: 2}]", "[{name: free}]")


def test_an_open_recipe_can_not_start_from_research_weights(tmp_path, where, monkeypatch):
    monkeypatch.setattr(f"{__name__}.RECIPE", OPEN)
    recipe = started(tmp_path, "open", use="research")
    monkeypatch.setattr(module, "gather", lambda *given: pytest.fail("refused before any work"))
    with pytest.raises(UsageError, match="before is for research only, the recipe's licence is open"):
        fit(recipe, out=tmp_path / "run", where=where)


def test_a_run_that_began_with_research_weights_does_not_become_open(tmp_path, where, monkeypatch):
    research = started(tmp_path, "research", use="research")
    asked = iter([False, True])
    assert fit(research, out=tmp_path / "run", where=replace(where, stop=lambda: next(asked))).step == 1
    opened = replace(research, licence="open", net=replace(research.net, start=""))
    with pytest.raises(UsageError, match=r"began with before 3 \(research use\), the recipe begins with random"):
        fit(opened, out=tmp_path / "run", where=where)
    (tmp_path / "run" / "split.json").unlink()
    with pytest.raises(UsageError, match=r"a training state without split\.json"):
        fit(opened, out=tmp_path / "run", where=where)


def test_a_model_that_starts_from_another_carries_its_sources_and_use(tmp_path, where):
    recipe = started(tmp_path, "research", use="research")
    recipe = replace(recipe, split=Split(held_out={"free": ("2", "9"), "studied": ("4",)}))
    document = weights.read_document(fit(recipe, out=tmp_path / "run", where=where).model)
    assert [(s.name, s.samples) for s in document.sources] == [("free", 8), ("studied", 8), ("old", 7)]
    assert document.use == "research" and document.training["started_from"] == "before 3"
    held_out = {name: tuple(groups) for name, groups in document.held_out.items()}
    assert held_out == {"free": ("2",), "old": ("3",), "studied": ("4",)}, "what the first training saw is not held out"


def test_research_use_stays_where_the_new_sources_are_open(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.RECIPE", OPEN)
    recipe = started(tmp_path, "research", use="research")
    trained = SimpleNamespace(step=2, figures={}, chosen={})
    document = module.describe(recipe, plan(recipe, None), [], trained)
    assert document.use == "open" and module.heir(document, module.start_document(recipe)).use == "research"


def packed(monkeypatch, recipe, tmp_path, **change):
    """What gather does, with packing counted in place of done."""
    made = []

    def write(path, asked, tasks, *, mpp, tell):
        made.append(path)
        weights.save_tensors(
            {"x": np.zeros(1)}, path, metadata={"geryon-pack-key": module.pack_key(asked, tasks, mpp=mpp)}
        )

    monkeypatch.setattr(module, "write_pack", write)
    changed = replace(recipe, **change)
    where = Where(data=tmp_path / "data")
    return len(module.gather(changed, changed.task_values(), tmp_path, where, lambda event: None)), len(made)


def test_a_pack_is_taken_over_by_its_own_recipe_only(monkeypatch, tmp_path):
    recipe = parse_recipe(RECIPE)
    assert packed(monkeypatch, recipe, tmp_path) == (16, 1)
    assert packed(monkeypatch, recipe, tmp_path, name="other", train=replace(recipe.train, steps=9)) == (16, 0)
    one, two = recipe.sources
    for change in (
        {"mpp": 0.25},
        {"sources": (replace(one, scales=(1.0, 1.2)), two)},
        {"sources": (replace(one, root="elsewhere/free"), two)},
        {"sources": (one,)},
        {"tasks": ("lumina", "nuclei")},
    ):
        with pytest.raises(UsageError, match=r"samples\.pack: the pack was made for other .*; delete it, or give ano"):
            packed(monkeypatch, recipe, tmp_path, **change)


def test_cutting_classes_makes_another_pack(monkeypatch, tmp_path):
    recipe = replace(parse_recipe(RECIPE), tasks=("nuclei",))
    packed(monkeypatch, recipe, tmp_path)
    with pytest.raises(UsageError, match="delete it"):
        packed(monkeypatch, recipe, tmp_path, cut=("nuclei",))


def test_a_pack_without_a_key_is_for_samples_only(monkeypatch, tmp_path):
    recipe = parse_recipe(RECIPE)
    path = tmp_path / "samples.pack"
    weights.save_tensors({"x": np.zeros(1)}, path, metadata={"geryon-pack": "[]"})
    with pytest.raises(UsageError, match="--samples"):
        module.gather(recipe, recipe.task_values(), tmp_path, Where(), lambda event: None)
    assert module.gather(recipe, recipe.task_values(), tmp_path, Where(samples=path), lambda event: None)
