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
from geryon.train.trainings import Training
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
    every = sorted((Path(__file__).parents[2] / "recipes" / "experiments").glob("*.yaml"))
    found = [path for path in every if not path.name.startswith("encoders_")]  # tests/train/encoders reads those
    assert len(found) >= 5
    for path in found:
        asked = read_experiment(path)
        for run in (*asked.prepare, *asked.runs):
            assert asked.recipe(run, 1, Path("out")).train.seed == 1
        own = {source.name for source in asked.recipe(next(iter(asked.runs)), 1, Path("out")).sources}
        assert all(m.source in {*SOURCES, *own} for m in asked.measure)


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
    asked = read_experiment(path)
    assert conduct(asked, out=tmp_path / "out", data=tmp_path) == tmp_path / "out" / "table.md"
    other = replace(asked, measure=(Measure(source="glas", task="lumina", metric="bright_pq"),))
    scored = conduct(other, out=tmp_path / "out", data=tmp_path)
    assert scored is not None and "lumina bright_pq | lumina alone" in scored.read_text(), "scored, not trained again"
    changed = replace(asked, base=merge_patch(asked.base, {"train": {"lr": 0.5}}))
    with pytest.raises(UsageError, match="another recipe.*remove that folder"):
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


def test_an_undefined_figure_is_a_dash_and_other_images_are_not_compared() -> None:
    asked = Experiment(
        question="",
        base={},
        runs={"a": {}, "b": {}},
        seeds=(0, 1),
        measure=(Measure(source="s", task="t", metric="pq"),),
    )
    label = asked.labels[0]
    whole = {"value": 0.5, "drawn": [0.4, 0.6], "cases": "x"}
    results = {
        ("a", 0): {"figures": {label: whole}},
        ("a", 1): {"figures": {label: whole}},
        ("b", 0): {"figures": {label: {"value": None, "drawn": [], "cases": "x"}}},
        ("b", 1): {"figures": {label: whole}},
    }
    first, second = lines_of(asked, results)
    assert first.value == 0.5 and np.isnan(second.value) and np.isnan(second.difference)
    for seed in (0, 1):
        results["b", seed] = {"figures": {label: whole | {"value": 0.7, "cases": "y"}}}
    _, second = lines_of(asked, results)
    assert second.value == 0.7 and np.isnan(second.difference) and np.isnan(second.difference_low)


def test_all_faults_of_an_experiment_are_told_before_the_first_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.MAKERS["glas"](tmp_path / "glas")
    wrong = TINY | {
        "runs": {"good": {}, "bad": {"tasks": ["gland"]}, "worse": {"net": {"start": "prepared sen"}}},
        "prepare": {"seen": {"train": {"steps": 0}}},
        "measure": [
            {"source": "glass", "task": "glands", "metric": "object_f1"},
            {"source": "glas", "task": "nuclei", "metric": "objct_f1", "by": "coin"},
        ],
    }
    path = write(tmp_path / "a.yaml", wrong)
    for more in (["--check"], ["--out", str(tmp_path / "out")]):
        assert main(["fit", str(path), "--data", str(tmp_path), *more]) == 2
        said = capsys.readouterr().err
        for text in (
            "bad: ",
            "did you mean glands",
            "there is no prepared sen before it; did you mean seen",
            "seen: ",
            "no source is called 'glass'; did you mean glas",
            "no task of the runs is called 'nuclei'",
            "no metric is called 'objct_f1'; did you mean object_f1",
            "no floor is called 'coin'",
        ):
            assert text in said, text
    assert not (tmp_path / "out").exists()
    assert main(["fit", str(write(tmp_path / "b.yaml", TINY)), "--check", "--data", str(tmp_path / "no")]) == 3
    assert main(["fit", str(write(tmp_path / "b.yaml", TINY)), "--check", "--minutes", "3"]) == 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sed": [1]}, "sed.*seeds"),
        ({"runs": {}}, "runs is empty"),
        ({"seeds": []}, "seeds is empty"),
        ({"measure": []}, "measure is empty"),
        ({"runs": {"a/b": {}}}, "no name of a folder"),
        ({"runs": {"a": {}}, "prepare": {"a": {}}}, "the same name"),
        ({"folds": 1}, "folds is 1"),
        ({"folds": 2, "base": {"train": {"best": "nuclei/inside dice"}}}, r"train\.best of both, lumina alone"),
    ],
)
def test_an_experiment_that_can_not_be_is_refused_when_read(more: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        read_experiment(write(tmp_path / "a.yaml", TINY | more))


def test_lists_of_groups_lie_beside_the_experiment(tmp_path: Path) -> None:
    write(tmp_path / "away.yaml", {"glas": ["testA*"], "consep": ["1"]})
    document = TINY | {"base": TINY["base"] | {"split": {"held_out": {"file": "away.yaml"}}}}
    asked = read_experiment(write(tmp_path / "a.yaml", document))
    assert asked.recipe("both", 0, tmp_path).split.held_out == {"glas": ("testA*",)}


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
    with pytest.raises(UsageError, match="another recipe.*remove that folder"):
        conduct(read_experiment(write(tmp_path / "c.yaml", document)), out=tmp_path / "out", data=tmp_path)
    assert card["steps"] == 1 and (tmp_path / "out" / "prepared" / "seen" / "tiny.safetensors").exists()


def test_each_image_is_answered_by_a_network_of_another_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.MAKERS["glas"](tmp_path / "glas")
    document = {key: value for key, value in TINY.items() if key != "runs"} | {"folds": 2, "seeds": [0]}
    document["base"] = TINY["base"] | {"split": {}}
    of_f1 = TINY["measure"][0]
    given = [of_f1 | {"metric": "given_accuracy", "by": by} for by in ("model", "majority class")]
    document["measure"] = [of_f1, of_f1 | {"stratum": "benign"}, *given]
    answered: dict[str, frozenset[str]] = {}
    find = measures.ByFold.find

    def noted(self: measures.ByFold, case: Case, image: np.ndarray) -> Prediction:
        answered[case.name] = self.learnt[self.fold(case)]
        return find(self, case, image)

    monkeypatch.setattr(measures.ByFold, "find", noted)
    asked = read_experiment(write(tmp_path / "folds.yaml", document))
    table = conduct(asked, out=tmp_path / "out", data=tmp_path)
    assert table is not None and "| glas glands object_f1 | base |" in table.read_text()
    assert "| glas glands object_f1, benign | base |" in table.read_text()
    assert "| glas glands given_accuracy, majority class | base |" in table.read_text()
    every = {case.name: case.group for case in get_source("glas").cases(tmp_path / "glas")}
    assert answered.keys() == every.keys()
    for name, learnt in answered.items():
        assert learnt and every[name] not in {every[other] for other in learnt}, "a patient on both sides"
    result = json.loads((tmp_path / "out" / "base-0" / "result.json").read_text())
    assert result["steps"] == 2 and result["figures"]["glas glands object_f1"]["images"] == len(every)
    given = result["figures"]["glas glands given_accuracy"]
    assert given["images"] == len(every) and given["objects"] > 0, "true outlines are given, whatever was found"


def test_in_folds_what_a_network_starts_from_has_not_seen_its_images_either(tmp_path: Path) -> None:
    fakes.MAKERS["glas"](tmp_path / "glas")
    document = TINY | {"folds": 2, "seeds": [0, 1], "measure": TINY["measure"][:1]}
    document["base"] = TINY["base"] | {"split": {}}
    document |= {"prepare": {"before": {}}, "runs": {"from it": {"net": {"start": "prepared before"}}}}
    asked = read_experiment(write(tmp_path / "folds.yaml", document))
    assert conduct(asked, out=tmp_path / "out", data=tmp_path) is not None
    every = {case.name for case in get_source("glas").cases(tmp_path / "glas")}
    for seed in (0, 1):
        left = []
        for fold in (0, 1):
            recipe = asked.recipe("from it", seed, tmp_path / "out", fold)
            assert recipe.net.start == str(
                tmp_path / "out" / "prepared" / "before" / f"fold-{fold}" / "tiny.safetensors"
            )
            own, older = (
                Training(
                    recipe=recipe, folder=asked.folder(tmp_path / "out", n, seed, fold), key="", steps=1, seconds=0
                )
                for n in ("from it", "before")
            )
            assert own.cases("glas", "train") == older.cases("glas", "train")
            left.append(every - own.cases("glas", "train") - older.cases("glas", "train"))
        assert left[0] | left[1] == every and not left[0] & left[1]
        result = json.loads((tmp_path / "out" / f"from it-{seed}" / "result.json").read_text())
        assert result["figures"]["glas glands object_f1"]["images"] == len(every)
