"""The commands, over imitations of sources: fit, stop and go on, probe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from geryon.cli import fit as command
from geryon.cli import main
from geryon.train.encoders.conducting import key_of
from geryon.train.encoders.experiment import tries
from geryon.train.encoders.experiment_check import read_encoder_experiment
from geryon.train.encoders.probe import ProbeSettings
from geryon.train.encoders.probing import probe_all
from tests.train import fakes
from tests.train.encoders import made

RECIPE = {**made.TINY, "split": {"validation": 0}, "train": {**made.TINY["train"], "steps": 2}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for source in ("glas", "kather_crc"):
        fakes.MAKERS[source](tmp_path / "data" / source)
    return tmp_path / "data"


@contextmanager
def stopped() -> Iterator[object]:
    """Stands where Ctrl-C is listened to: it was pressed at once."""
    yield lambda: True


def write(path: Path, document: object) -> str:
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(path)


def test_an_encoder_is_fitted_stopped_resumed_and_probed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", write(tmp_path / "a.yaml", RECIPE), "--out", str(tmp_path / "out"), "--data", str(data)]
    with monkeypatch.context() as patch:
        patch.setattr(command, "asked_to_stop", stopped)
        assert main(words) == 130
    assert "stopped at step 0; the same command goes on" in capsys.readouterr().out
    assert main(words) == 0
    path = tmp_path / "out" / "tiny.safetensors"
    assert f"{path} after 2 steps" in capsys.readouterr().out
    told = tmp_path / "probes.json"
    monkeypatch.setitem(probe_all.__kwdefaults__, "settings", ProbeSettings(folds=2, seeds=(0,), steps=20, batch=16))
    assert (
        main(
            [
                "evaluate",
                str(path),
                "--probe",
                "glas",
                "--against",
                "mean-rgb",
                "--data",
                str(data),
                "--json",
                str(told),
            ]
        )
        == 0
    )
    shown = capsys.readouterr()
    assert "| glas | mean-rgb | auc |" in shown.out and "too good" in shown.err + shown.out
    probes = json.loads(told.read_text())["probes"]
    assert [probe["encoder"] for probe in probes] == ["tiny", "mean-rgb"] and probes[0]["groups"] == 2


def test_what_is_missing_is_told(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "mean-rgb", "--data", str(data)]) == 2
    assert "for an encoder give --probe TASKS" in capsys.readouterr().err
    assert main(["evaluate", "mean-rgb", "--probe", "galss", "--data", str(data)]) == 2
    assert "no patch task is called 'galss'" in capsys.readouterr().err
    assert main(["evaluate", "mean-rgb", "--probe", "consep", "--data", str(data)]) == 3
    told = ["evaluate", "no-such.h5", "--probe", "glas,galss,consep", "--data", str(data)]
    assert main(told) == 2
    shown = capsys.readouterr()
    assert all(word in shown.err for word in ("galss", "consep", "no-such.h5")) and not shown.out
    assert main(["evaluate", "mean-rgb", "--source", "glas", "--against", "x", "--data", str(data)]) == 2
    assert "--against is for --probe" in capsys.readouterr().err


def test_a_check_looks_for_the_sources_of_all_tasks(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", write(tmp_path / "a.yaml", RECIPE), "--check", "--data"]
    assert main([*words, str(data)]) == 0 and "no faults" in capsys.readouterr().out
    assert main([*words, str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "2 faults" in said and "glas" in said and "kather_crc" in said


def test_other_encoders_are_looked_for_before_anything_is_trained(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {"a": "no-{task}.safetensors", "b": "none.h5", "c": "mean-rgb"}
    changed = {"wrong": {"train": {"batch": 9, "steps": 0}}}
    asked = write(tmp_path / "e.yaml", {"question": "?", "encoders": RECIPE, "runs": changed, "others": others})
    assert main(["fit", asked, "--out", str(tmp_path / "out"), "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("no-glas", "no-kather", "none.h5", "steps")) and "mean-rgb" in said
    assert not (tmp_path / "out").exists()


def test_the_check_of_an_experiment_tells_all_that_is_missing(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {**RECIPE, "tasks": ["glas", "kather", "consep"]}
    (tmp_path / "made.h5").write_bytes(b"no network")
    given = {
        "question": "?",
        "encoders": base,
        "left_out": ["kather"],
        "runs": {"taught": {}, "begun": {"encoder": {"start": str(tmp_path / "gone.safetensors")}}},
        "once": {"wider": {"tasks": ["crchisto"], "encoder": {"objective": "vae", "width": 0.1}}},
        "others": {"a": str(tmp_path / "made.h5"), "b": "gone-{task}.h5", "c": "mean-rgb"},
    }
    words = ["fit", write(tmp_path / "e.yaml", given), "--out", str(tmp_path / "out"), "--data", str(data)]
    for more in ([], ["--check"]):
        assert main([*words, *more]) == 2
        said = capsys.readouterr().err
        assert "5 faults" in said and "others: mean-rgb" not in said and "glas:" not in said
        for part in ("consep", "crchistophenotypes", "made.h5", "gone-kather.h5", "gone.safetensors"):
            assert part in said, part
        assert not (tmp_path / "out").exists()
    given.update(others={}, runs={"taught": {}})
    assert main(["fit", write(tmp_path / "e.yaml", given), "--check", "--data", str(data)]) == 3, "only files are wrong"


def test_the_check_of_an_experiment_looks_at_the_split_and_at_what_is_probed(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = {**RECIPE, "split": {"validation": 0, "held_out": {"glas": ["*"]}}, "tasks": ["glas", "ebhi"]}
    given = {"question": "?", "encoders": away, "left_out": ["ebhi"], "runs": {"taught": {}, "again": {}}}
    words = ["fit", write(tmp_path / "e.yaml", given), "--check", "--data", str(data)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "2 faults" in said and "glas: the split leaves nothing of it" in said and "ebhi_seg" in said


def test_an_experiment_is_checked_and_stopped(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = write(tmp_path / "e.yaml", {"question": "?", "encoders": RECIPE, "runs": {"taught": {}}})
    assert main(["fit", asked, "--check", "--data", str(data)]) == 0 and "no faults" in capsys.readouterr().out
    first = next(tries(read_encoder_experiment(Path(asked))))
    assert (
        first.recipe and first.task == "glas" and first.recipe.tasks == ("kather",) and len(key_of(first.recipe)) == 12
    )
    monkeypatch.setattr(command, "asked_to_stop", stopped)
    assert main(["fit", asked, "--out", str(tmp_path / "out"), "--data", str(data)]) == 130
    assert "goes on with the training that was not finished" in capsys.readouterr().out
