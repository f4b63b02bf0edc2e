"""An experiment is several recipes that differ in one thing, and takes over what it has done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from geryon.cli import main
from geryon.errors import UsageError
from geryon.nets.model import Prediction
from geryon.train import experiment as module
from geryon.train import measures
from geryon.train.comparison import lines_of
from geryon.train.experiment import Experiment, conduct, merge_patch, read_experiment
from geryon.train.measures import Measure
from geryon.train.source import SOURCES, Case, get_source
from tests.train import fakes

TINY = {
    "question": "Is seeing glands of use?",
    "seeds": [0, 1],
    "full_steps": 1000,
    "base": {
        "name": "tiny",
        "licence": "research",
        "tasks": ["glands", "lumina"],
        "net": {"settings": {"encoder": "plain", "decoder": [4, 4, 4, 4, 4]}},
        "sources": [{"name": "glas"}],
        "split": {"validation": 0, "held_out": {"glas": ["testA*"]}},
        "train": {"steps": 1, "batch": 2, "crop_px": 64, "threads": 0, "device": "cpu", "precision": "float32"},
    },
    "runs": {"both": {}, "lumina alone": {"tasks": ["lumina"]}},
    "measure": [
        {"source": "glas", "task": "glands", "metric": "object_f1"},
        {"source": "glas", "task": "lumina", "metric": "bright_dice", "unseen": True},
    ],
}


def write(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_every_shipped_experiment_can_be_read() -> None:
    found = sorted((Path(__file__).parents[2] / "recipes" / "experiments").glob("*.yaml"))
    assert len(found) >= 5
    for path in found:
        asked = read_experiment(path)
        for run in (*asked.prepare, *asked.runs):
            assert asked.recipe(run, 1, Path("out")).train.seed == 1
        assert all(m.source in SOURCES for m in asked.measure)


def test_runs_are_done_once_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.MAKERS["glas"](tmp_path / "glas")
    path = write(tmp_path / "tiny.yaml", TINY)
    assert main(["fit", str(path), "--out", str(tmp_path / "out"), "--data", str(tmp_path)]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| glas glands object_f1 | both |" in table and "1000 steps" in table
    assert "lumina bright_dice, unseen stain and scanner | lumina alone |" in table
    assert "glands object_f1 | lumina alone" not in table, "a task that a run lacks is not measured"
    assert (tmp_path / "out" / "plot.svg").read_text().count("<circle") >= 3
    assert {p.name for p in (tmp_path / "out").glob("*-?")} == {f"{r}-{s}" for r in TINY["runs"] for s in (0, 1)}

    def twice(*args: object, **kwargs: object) -> None:
        raise AssertionError("a finished run is done again")

    monkeypatch.setattr(module, "fit", twice)
    assert conduct(read_experiment(path), out=tmp_path / "out", data=tmp_path) == tmp_path / "out" / "table.md"
    with pytest.raises(AssertionError, match="done again"):
        changed = replace(read_experiment(path), measure=(Measure(source="glas", task="lumina", metric="bright_dice"),))
        conduct(changed, out=tmp_path / "out", data=tmp_path)


def test_differences_are_of_the_same_draws() -> None:
    asked = Experiment(
        question="",
        base={},
        runs={"a": {}, "b": {}},
        seeds=(0, 1),
        measure=(Measure(source="s", task="t", metric="pq"),),
    )
    drawn = np.random.default_rng(0).normal(0.5, 0.1, 400)
    results = {
        (run, seed): {"figures": {asked.labels[0]: {"value": 0.5 + more, "drawn": list(drawn + more)}}}
        for run, more in (("a", 0.0), ("b", 0.02))
        for seed in (0, 1)
    }
    first, second = lines_of(asked, results)
    assert np.isnan(first.difference) and first.low < 0.4 < 0.6 < first.high
    assert second.difference == pytest.approx(0.02)
    assert (second.difference_low, second.difference_high) == pytest.approx((0.02, 0.02))


def test_faults_of_an_experiment_are_told(tmp_path: Path) -> None:
    wrong = TINY | {"sed": [1]}
    with pytest.raises(UsageError, match="sed.*seeds"):
        read_experiment(write(tmp_path / "a.yaml", wrong))
    wrong = TINY | {"runs": {"both": {"tasks": ["gland"]}}}
    path = write(tmp_path / "b.yaml", wrong)
    assert main(["fit", str(path), "--check"]) == 2
    assert main(["fit", str(path), "--out", str(tmp_path / "out"), "--data", str(tmp_path)]) == 2
    assert not (tmp_path / "out").exists()


def test_a_patch_of_null_removes() -> None:
    assert merge_patch({"a": {"b": 1}, "c": [1, 2]}, {"a": {"b": None}, "c": [3]}) == {"a": {}, "c": [3]}


def test_a_run_can_start_from_what_was_prepared(tmp_path: Path) -> None:
    fakes.MAKERS["glas"](tmp_path / "glas")
    images = next((tmp_path / "glas").glob("*/train_1.*")).parent.name
    own = {"name": "mine", "format": "unlabelled", "task": "restored", "root": "glas", "images": images}
    patch = {
        "tasks": ["restored"],
        "sources": [own | {"mpp": 0.62, "group": "image", "licence": "ours", "use": "open"}],
        "split": {"held_out": None},
    }
    document = TINY | {
        "seeds": [0],
        "prepare": {"seen": patch},
        "runs": {"from it": {"net": {"start": "prepared seen"}}},
        "measure": TINY["measure"][:1],
    }
    asked = read_experiment(write(tmp_path / "c.yaml", document))
    assert conduct(asked, out=tmp_path / "out", data=tmp_path) is not None
    card = json.loads((tmp_path / "out" / "from it-0" / "result.json").read_text())
    document["prepare"] = {"seen": patch | {"train": {"lr": 0.5}}}
    with pytest.raises(UsageError, match="came from another recipe"):
        conduct(read_experiment(write(tmp_path / "c.yaml", document)), out=tmp_path / "out", data=tmp_path)
    assert card["steps"] == 1 and (tmp_path / "out" / "prepared" / "seen" / "tiny.safetensors").exists()


def test_each_image_is_answered_by_a_network_of_another_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.MAKERS["glas"](tmp_path / "glas")
    document = {key: value for key, value in TINY.items() if key != "runs"} | {"folds": 2, "seeds": [0]}
    document["base"] = TINY["base"] | {"split": {}}
    of_f1 = TINY["measure"][0]
    document["measure"] = [of_f1, of_f1 | {"stratum": "benign"}, of_f1 | {"metric": "given_accuracy"}]
    answered: dict[str, set[str]] = {}
    find = measures.ByFold.find

    def noted(self: measures.ByFold, case: Case, image: np.ndarray) -> Prediction:
        able = [i for i, names in enumerate(self.learnt) if case.name not in names]
        answered[case.name] = self.learnt[able[0]]
        return find(self, case, image)

    monkeypatch.setattr(measures.ByFold, "find", noted)
    asked = read_experiment(write(tmp_path / "folds.yaml", document))
    table = conduct(asked, out=tmp_path / "out", data=tmp_path)
    assert table is not None and "| glas glands object_f1 | base |" in table.read_text()
    assert "| glas glands object_f1, benign | base |" in table.read_text()
    every = {case.name: case.group for case in get_source("glas").cases(tmp_path / "glas")}
    assert answered.keys() == every.keys()
    for name, learnt in answered.items():
        assert learnt and every[name] not in {every[other] for other in learnt}, "a patient on both sides"
    result = json.loads((tmp_path / "out" / "base-0" / "result.json").read_text())
    assert result["steps"] == 2 and result["figures"]["glas glands object_f1"]["images"] == len(every)
    given = result["figures"]["glas glands given_accuracy"]
    assert given["images"] == len(every) and given["objects"] > 0, "true outlines are given, whatever was found"


def test_folds_do_not_choose_by_what_is_measured() -> None:
    with pytest.raises(ValueError, match=r"train\.best"):
        Experiment(question="", base={"train": {"best": "nuclei/inside dice"}}, folds=3, measure=())
