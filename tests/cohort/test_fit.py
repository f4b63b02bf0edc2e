"""geryon slides fit and predict, whole: what they leave; that they resume, repeat, refuse, and read little."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from geryon.cli import main
from geryon.cohort import ensemble, outcome
from geryon.cohort.answering import predict_slides
from geryon.cohort.document import read_slide_document
from geryon.cohort.fit import Course, fit_slides
from geryon.cohort.models import FILE
from geryon.cohort.question import Question
from geryon.errors import InputError, MissingPartError, UsageError
from geryon.events import Warned
from geryon.store.features import Volume
from tests.cohort.cohorts import cohort, volume, write

QUESTION = Question(labels=("y",))
SETTINGS = {"cells": 4, "instances": 12, "batch": 6, "epochs": 2, "test_crops": 2, "validation_crops": 1, "rate": 1e-2}
MEAN = Course(model="mean", folds=3, seeds=2)
SMALL = Course(model="attention", settings=SETTINGS, folds=3, seeds=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=15)
    labels = [{"y": "high" if z > 0 else "low", "t": round(float(np.exp(-z)), 4), "e": k % 3 % 2 or 1 - k % 2}
              for k, z in enumerate(signal)]  # fmt: skip
    return cohort(tmp_path_factory.mktemp("cohort"), labels, signal, side=5)


@pytest.fixture(scope="module")
def fitted(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    fit_slides(table, out=out, question=QUESTION, course=MEAN)
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_leaves_tables_figures_report_and_model(fitted: Path) -> None:
    assert sorted(p.name for p in fitted.iterdir()) == [
        "figures.json", "patients.csv", "predictions.csv", "report.html", FILE, "slides.json",
    ]  # fmt: skip
    answers = rows(fitted / "predictions.csv")
    assert list(answers[0]) == ["slide", "patient", "fold", "y", "p_low", "p_low_seed1", "p_low_seed2"]
    assert len(answers) == 15 and {row["fold"] for row in answers} == {"1", "2", "3"}
    for row in answers:
        assert float(row["p_low"]) == pytest.approx(
            (float(row["p_low_seed1"]) + float(row["p_low_seed2"])) / 2, abs=1e-5
        )
    figures = json.loads((fitted / "figures.json").read_text(encoding="utf-8"))
    auc = figures["slides"]["mean"]["auc"]
    assert 0.8 < auc["value"] <= 1.0 and auc["low"] <= auc["value"] <= auc["high"]
    assert set(figures["slides"]["seeds"]) == {"1", "2"} and figures["status"] == "complete"
    document = read_slide_document(fitted / FILE)
    assert [(m.fold, m.seed) for m in document.members] == [(f, s) for s in (1, 2) for f in (1, 2, 3)]
    assert b"p000" not in (fitted / FILE).read_bytes()  # no patient's name leaves the folder
    page = (fitted / "report.html").read_text(encoding="utf-8")
    pictures = [part.split("</svg>")[0] for part in page.split("<svg")[1:]]
    assert len(pictures) >= 4 and all(ElementTree.fromstring(f"<svg{part}</svg>") is not None for part in pictures)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_labels_are_spread_over_folds(fitted: Path) -> None:
    for label in ("high", "low"):
        counts = [sum(r["fold"] == f and r["y"] == label for r in rows(fitted / "predictions.csv")) for f in "123"]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("model", ["cnn", "attention", "mean"])
def test_predict_of_a_fold_is_what_fit_said_of_it(table: Path, tmp_path: Path, model: str) -> None:
    course = replace(SMALL, model=model, settings=SETTINGS if model != "mean" else {})
    out = tmp_path / "run"
    fit_slides(table, out=out, question=QUESTION, course=course)
    said = {row["slide"]: row for row in rows(out / "predictions.csv")}
    for fold in (1, 3):
        mine = [name for name, row in said.items() if row["fold"] == str(fold)]
        asked = [table.parent / "out" / name for name in mine]
        found = predict_slides(out, asked, fold=fold, out=tmp_path / "p.csv")
        assert found.names == tuple(mine)
        for row in rows(tmp_path / "p.csv"):
            assert float(row["p_low"]) == pytest.approx(float(said[row["slide"]]["p_low"]), abs=2e-6)


def test_the_same_call_gives_the_same_bytes_with_and_without_memory(table: Path, tmp_path: Path) -> None:
    for name, memory in (("a", 1 << 30), ("b", 0)):
        fit_slides(table, out=tmp_path / name, question=QUESTION, course=replace(SMALL, memory_bytes=memory))
    assert bytes_in(tmp_path / "a") == bytes_in(tmp_path / "b")


def test_a_finished_run_is_left_and_another_question_refused(fitted: Path, table: Path) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in fitted.iterdir()}
    again = fit_slides(table, out=fitted, question=QUESTION, course=MEAN)
    assert again.figures["slides"]["mean"]["auc"]["value"] > 0.8
    assert {p.name: p.stat().st_mtime_ns for p in fitted.iterdir()} == before
    for course, question in ((replace(MEAN, seeds=3), QUESTION), (MEAN, Question(labels=("t",)))):
        with pytest.raises(UsageError, match="another table or other settings; choose another --out"):
            fit_slides(table, out=fitted, question=question, course=course)


def test_what_is_finished_is_taken_over(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_slides(table, out=tmp_path / "whole", question=QUESTION, course=SMALL)
    taught: list[int] = []
    learn = ensemble.learn

    def dies(lesson, part, tell):  # type: ignore[no-untyped-def]
        taught.append(part.seed)
        if len(taught) == 2:
            raise KeyboardInterrupt
        return learn(lesson, part, tell)

    monkeypatch.setattr(ensemble, "learn", dies)
    with pytest.raises(KeyboardInterrupt):
        fit_slides(table, out=tmp_path / "run", question=QUESTION, course=SMALL)
    assert [p.name for p in (tmp_path / "run").iterdir()] and not (tmp_path / "run" / "figures.json").exists()
    fit_slides(table, out=tmp_path / "run", question=QUESTION, course=SMALL)
    assert len(taught) == 4 and taught[0] not in taught[1:]  # the first network is not trained again
    assert bytes_in(tmp_path / "run") == bytes_in(tmp_path / "whole")


def test_damaged_and_foreign_parts_are_made_again(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_slides(table, out=tmp_path / "whole", question=QUESTION, course=replace(MEAN, seeds=1))
    out, parts, kept = tmp_path / "run", tmp_path / "run" / ".parts", tmp_path / "kept"
    with monkeypatch.context() as patch:
        patch.setattr(outcome.shutil, "rmtree", lambda folder, **_: folder.rename(kept))
        fit_slides(table, out=out, question=QUESTION, course=replace(MEAN, seeds=1))
    kept.rename(parts)
    first, second, third = sorted(parts.iterdir())
    first.write_bytes(first.read_bytes()[:-40])
    foreign = ensemble.read_tensors(second)
    ensemble.save_tensors({n: t + 1 for n, t in foreign.items()}, second, metadata={"key": "another"})
    (out / "figures.json").write_text('{"status": "comp')
    taught: list[int] = []
    learn = ensemble.learn
    monkeypatch.setattr(ensemble, "learn", lambda *given: taught.append(given[1].seed) or learn(*given))
    fit_slides(table, out=out, question=QUESTION, course=replace(MEAN, seeds=1))
    assert len(taught) == 2 and bytes_in(out) == bytes_in(tmp_path / "whole")


@pytest.mark.parametrize(("cells", "says"), [(20, ["longer than 5: --cells 6 takes about 1/11 of the time"]), (19, [])])
def test_crops_far_larger_than_all_slides_are_told(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int, says: list[str]
) -> None:
    told: list[str] = []

    def tell(event: object) -> None:
        told.extend([event.text] if isinstance(event, Warned) else [])

    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ensemble, "learn", stops)
    course = replace(SMALL, model="cnn", settings={**SETTINGS, "cells": cells})
    with pytest.raises(KeyboardInterrupt):
        fit_slides(table, out=tmp_path / "run", question=QUESTION, course=course, tell=tell)
    assert [text.split("none is ")[1] for text in told if "crops of" in text] == says


def test_labels_with_few_patients_are_told(table: Path, tmp_path: Path) -> None:
    made = [{**row, "features": str(table.parent / row["features"]), "a": k % 2, "b": int(k < 2)}
            for k, row in enumerate(rows(table))]  # fmt: skip
    told: list[str] = []

    def tell(event: object) -> None:
        told.extend([event.text] if isinstance(event, Warned) else [])

    own, question = write(tmp_path / "own.csv", made), Question(labels=("a", "b"))
    fit_slides(own, out=tmp_path / "run", question=question, course=replace(MEAN, seeds=1), tell=tell)
    assert [text for text in told if "fewer than folds" in text] == [
        "column 'b': the value 1 has 2 patients, fewer than folds: some networks learn little of it"
    ]


def test_a_killed_run_goes_on(table: Path, tmp_path: Path) -> None:
    words = ["slides", "fit", str(table), "--label", "y", "--model", "attention", "--folds", "3", "--seeds", "1"]
    words += ["--instances", "12", "--batch", "6", "--epochs", "40", "--rate", "0.01", "--out", str(tmp_path / "run")]
    run = subprocess.Popen([sys.executable, "-m", "geryon", *words], env={**os.environ, "OMP_NUM_THREADS": "1"})
    parts = tmp_path / "run" / ".parts"
    until = time.monotonic() + 120
    while run.poll() is None and time.monotonic() < until and not list(parts.glob("*.safetensors")):
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert list(parts.glob("*.safetensors")) and not (tmp_path / "run" / FILE).exists()
    assert main([*words, "--quiet"]) == 0
    assert not parts.exists() and (tmp_path / "run" / FILE).exists()


def test_a_volume_over_the_budget_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [{"y": "ab"[k % 2]} for k in range(9)]
    table = cohort(tmp_path, labels, [float(k % 2) for k in range(9)], side=72)
    reads: list[int] = []
    whole = Volume._codes
    monkeypatch.setattr(Volume, "_codes", lambda *a: reads.append(whole(*a).size // 4) or whole(*a))
    settings = {**SETTINGS, "cells": 8, "epochs": 1, "test_crops": 3}
    course = Course(model="cnn", settings=settings, folds=3, seeds=1, memory_bytes=0)
    fit_slides(table, out=tmp_path / "run", question=QUESTION, course=course)
    assert max(reads) <= 8 * 8  # of 5,184 cells


def test_survival_of_patients_with_several_slides(tmp_path: Path) -> None:
    pytest.importorskip("lifelines")
    rng = np.random.default_rng(3)
    made = []
    for k in range(18):
        risk = rng.normal()
        for part in range(2):
            name = f"s{k:02d}{part}"
            volume(tmp_path / "out", name, risk, side=4)
            months = round(float(np.exp(-risk)) * 20, 2)
            made.append({"slide": name, "patient": f"p{k}", "months": months, "died": k % 4 != 0})
    table = write(tmp_path / "slides.csv", made)
    course = Course(model="mean", folds=3, seeds=1)
    fitted = fit_slides(
        table, out=tmp_path / "run", course=course,
        question=Question(time="months", event="died", features=tmp_path / "out"),
    )  # fmt: skip
    assert "slides" not in fitted.figures
    assert fitted.figures["patients"]["mean"]["c_index"]["value"] > 0.8
    assert fitted.figures["patients"]["log_rank_p"] < 0.05
    patients, slides = rows(tmp_path / "run" / "patients.csv"), rows(tmp_path / "run" / "predictions.csv")
    assert len(patients) == 18 and patients[0]["slide"] == "s000; s001"
    assert float(patients[0]["log_hazard"]) == pytest.approx(
        np.mean([float(r["log_hazard"]) for r in slides[:2]]), abs=1e-4
    )
    assert len({r["fold"] for r in slides if r["patient"] == "p3"}) == 1
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Kaplan-Meier" in page and "higher risk (n = 9" in page


def test_survival_without_lifelines_is_told_first(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lifelines", None)
    with pytest.raises(MissingPartError, match=r'pip install "geryon\[survival\]"'):
        fit_slides(table, out=tmp_path / "run", question=Question(time="t", event="e"), course=MEAN)
    assert not (tmp_path / "run").exists()


def test_the_columns_of_folds_are_kept(table: Path, tmp_path: Path) -> None:
    made = [
        {**row, "fold": "xyz"[k % 3], "features": str(table.parent / row["features"])}
        for k, row in enumerate(rows(table))
    ]
    own = write(tmp_path / "own.csv", made)
    fit_slides(own, out=tmp_path / "run", question=QUESTION, course=replace(MEAN, seeds=1))
    assert [r["fold"] for r in rows(tmp_path / "run" / "predictions.csv")] == [str(k % 3 + 1) for k in range(15)]


def test_predict_refuses_volumes_of_another_encoder(fitted: Path, tmp_path: Path) -> None:
    volume(tmp_path, "other", 1.0, encoder="bigan", encoder_sha256="1" * 64)
    with pytest.raises(InputError, match=r"another encoder than the model's: name bigan in place of mean-rgb"):
        predict_slides(fitted, [tmp_path / "other"], out=tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_predict_warns_of_codes_in_another_precision(tmp_path: Path) -> None:
    signal = np.arange(15) % 2 - 0.5
    labels = [{"y": "ab"[int(z > 0)]} for z in signal]
    table = cohort(tmp_path, labels, signal, side=2, precision="float32")
    fit_slides(table, out=tmp_path / "run", question=QUESTION, course=replace(MEAN, seeds=1))
    assert read_slide_document(tmp_path / "run" / FILE).precisions == ("float32",)
    told: list[str] = []

    def tell(event: object) -> None:
        told.extend([event.text] if isinstance(event, Warned) else [])

    for name, precision in (("same", "float32"), ("unknown", ""), ("other", "int8")):
        volume(tmp_path / "new", name, 1.0, side=2, precision=precision)
    predict_slides(tmp_path / "run", [tmp_path / "new" / "same", tmp_path / "new" / "unknown"], tell=tell)
    assert told == []
    predict_slides(tmp_path / "run", [tmp_path / "new" / "same", tmp_path / "new" / "other"], tell=tell)
    assert len(told) == 1 and "learnt from codes computed in float32, those of 1 in int8 differ a little" in told[0]


def test_predict_says_whom_it_learnt_from_and_what_it_left_out(fitted: Path, table: Path, tmp_path: Path) -> None:
    volume(tmp_path, "blank", 1.0, tissue=np.zeros((8, 8), bool))
    told: list[str] = []

    def tell(event: object) -> None:
        told.extend([event.text] if isinstance(event, Warned) else [])

    found = predict_slides(fitted, [table], tell=tell)
    assert len(found.names) == 15 and any("learnt from p000" in text for text in told)
    predict_slides(fitted, [table.parent / "out" / "s001", tmp_path / "blank"], tell=tell)
    assert any("without tissue: blank" in text for text in told)
    assert any("learnt from s001" in text for text in told)  # no table says whose it is, yet it was learnt from
    told.clear()
    (table.parent / "renamed").mkdir(exist_ok=True)
    volume(table.parent / "renamed", "new", 3.0, side=5)
    predict_slides(fitted, [table.parent / "renamed" / "new"], tell=tell)
    assert told == []
    with pytest.raises(UsageError, match="no fold 9"):
        predict_slides(fitted, [table], fold=9)
    with pytest.raises(UsageError, match="a table stands beside other slides"):
        predict_slides(fitted, [table, table.parent / "out" / "s001"])


def test_predict_of_a_fold_says_how_many_are_of_others(fitted: Path, table: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def tell(event: object) -> None:
        told.extend([event.text] if isinstance(event, Warned) else [])

    fold_of = {row["slide"]: row["fold"] for row in rows(fitted / "predictions.csv")}
    others = sum(fold != "2" for fold in fold_of.values())
    predict_slides(fitted, [table], fold=2, tell=tell)
    assert len(told) == 1 and told[0].startswith(f"{others} slides are of other folds (") and "fold 2" in told[0]
    told.clear()
    predict_slides(fitted, [table.parent / "out" / n for n, fold in fold_of.items() if fold == "2"], fold=2, tell=tell)
    assert told == []


def test_commands_end_with_their_codes(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["slides", "fit", str(table), "--out", str(tmp_path / "run")]
    assert main([*base]) == 2 and "--label COLUMN" in capsys.readouterr().err
    assert main([*base, "--label", "y", "--model", "unet"]) == 2
    assert main([*base, "--label", "y", "--folds", "40"]) == 2
    assert main([*base, "--label", "y", "--cells", "1"]) == 2
    assert main([*base, "--label", "t", "--target", "binary"]) == 3
    assert not (tmp_path / "run").exists()
    capsys.readouterr()
    assert main([*base, "--label", "y", "--model", "mean", "--folds", "3", "--seeds", "1"]) == 0
    assert "slides auc" in capsys.readouterr().out
    out = tmp_path / "p.csv"
    assert main(["slides", "predict", str(tmp_path / "run"), str(table), "--fold", "1", "--out", str(out)]) == 0
    assert len(rows(out)) == 15
    assert main(["slides", "predict", str(table), str(table), "--out", str(out)]) == 3
