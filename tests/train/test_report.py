"""What a fit leaves beside its weights: figures of images that it did not learn from, pictures, curves, the card."""

import csv
import json
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from geryon.nets import weights
from geryon.nets.weights import ModelDocument, TaskDocument
from geryon.tasks.task import Labelled
from geryon.train import curves_page, report
from geryon.train.evaluate import Look, evaluate
from geryon.train.overlays import drawn, overlays
from geryon.train.report import Part, measured, parts_of, spread
from geryon.train.splits import HELD_OUT, VALIDATION
from geryon.train.tables import comma_separated, markdown, table
from tests.train.test_calibration import ece, piece
from tests.train.test_evaluate import Echo, FakeCase, nuclei_case

DOCUMENT = ModelDocument(name="m", version="1", topology="geryon-s", tasks=(TaskDocument(name="nuclei"),))


@dataclass(frozen=True)
class Named:
    name: str


def test_parts_are_the_unseen_cases_and_as_many_as_asked():
    cases = [Named(f"{kind}{i:02d}") for kind in "tvh" for i in range(30)]
    names = {VALIDATION: {f"v{i:02d}" for i in range(30)}, HELD_OUT: {f"h{i:02d}" for i in range(30)} | {"gone"}}
    parts = parts_of("glas", cases, names, 5)
    assert [(p.split, len(p.cases), p.of) for p in parts] == [(VALIDATION, 5, 30), (HELD_OUT, 5, 30)]
    assert [c.name for c in parts[0].cases] == ["v00", "v07", "v14", "v22", "v29"]
    assert spread(cases[:3], 5) == cases[:3] and parts_of("glas", cases, {HELD_OUT: set()}, 5) == []


def test_validation_calibrates_and_its_errors_are_those_of_the_other_half():
    checking = [piece(f"g{i}", i, heat=0.4) for i in range(8)]
    held_out = [piece(f"h{i}", 100 + i, heat=0.4) for i in range(8)]
    parts = [Part(source="made", split=split, cases=(), of=8) for split in (VALIDATION, HELD_OUT)]
    document, rows = measured(DOCUMENT, list(zip(parts, (checking, held_out), strict=True)))
    assert document.calibration["nuclei"]["class_temperature"] == pytest.approx(2.5, rel=0.2)
    assert document.training["calibrated_on"] == "validation images of made"
    of = {split: [row for row in rows if row.split == split] for split in (VALIDATION, HELD_OUT)}
    bys = {row.by for row in of[VALIDATION] if row.metric == "ece_score"}
    assert bys == {"model, before calibration", "model, calibrated by the other half of the groups"}
    assert ece(of[HELD_OUT], "ece_score") < 0.04 < 0.08 < ece(of[HELD_OUT], "ece_score", "model, before calibration")
    kept = report.compact(rows)
    assert kept[HELD_OUT]["made"]["nuclei"]["f_d"] > 0.5 and "ece_score" not in kept[VALIDATION]["made"]["nuclei"]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "run" / "m.safetensors"
    path.parent.mkdir()
    weights.save_model(path, {"x.weight": np.zeros(2, np.float32)}, DOCUMENT)
    return path


def test_the_report_measures_the_model_and_writes_all_files(model, monkeypatch):
    cases = [nuclei_case(f"tiles/{i}.png", f"g{i}", i) for i in range(5)]
    monkeypatch.setattr(report, "load_model", lambda path: Echo(cases))
    parts = [Part(source="made", split=VALIDATION, cases=tuple(cases), of=9)]
    (model.parent / "log.csv").write_text("step,loss\n1,2.5\n2,1.5\n")
    sha256 = report.report(model, parts, model.parent, lambda event: None)
    assert sha256 == weights.file_sha256(model)
    document = weights.read_document(model)
    assert document.training["measured"][VALIDATION]["made"]["nuclei"]["pq"] == 1.0
    written = json.loads((model.parent / "metrics.json").read_text(encoding="utf-8"))
    assert written["images"] == [{"source": "made", "split": VALIDATION, "images": 5, "of": 9}]
    assert written["sha256"] == sha256 and len(written["rows"]) > 10
    with (model.parent / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["metric"], r["by"]) for r in rows] == [(r["metric"], r["by"]) for r in written["rows"]]
    card = (model.parent / "m.md").read_text(encoding="utf-8")
    for text in (card, (model.parent / "metrics.md").read_text(encoding="utf-8")):
        assert (
            "made, validation: 5 of 9 images" in text and "| made | validation | nuclei | pq | model | 1.000 |" in text
        )
    assert sha256 in card and "measured.validation" not in card, "figures stand once, with their intervals"
    pictures = sorted(p.name for p in (model.parent / "overlays" / "made-validation").iterdir())
    assert pictures == [f"tiles-{i}.png_nuclei.jpg" for i in range(report.PICTURES)]
    assert (model.parent / "curves.html").exists()


def test_where_nothing_was_kept_from_training_that_is_said(model):
    before = model.read_bytes()
    report.report(model, [], model.parent, lambda event: None)
    assert model.read_bytes() == before
    for name in ("metrics.md", "m.md"):
        assert "Nothing was measured: no image was kept" in (model.parent / name).read_text(encoding="utf-8")
    assert json.loads((model.parent / "metrics.json").read_text())["rows"] == []


def test_curves_are_drawn_from_both_tables(tmp_path):
    (tmp_path / "log.csv").write_text("step,loss,rate\n" + "".join(f"{i},{100 - i},0.1\n" for i in range(1, 2001)))
    told = "500,glands/inside dice,0.5\n500,glands/inside loss,9\n1000,glands/inside dice,nan\n"
    told += "1500,glands/inside dice,0.75\n1500,glands/inside loss,8\n"
    (tmp_path / "validation.csv").write_text(f"step,figure,value\n{told}")
    page = curves_page.write_curves(tmp_path, "a <b>").read_text(encoding="utf-8")
    assert "a &lt;b&gt;" in page and page.count("<svg") == 4
    charts = [part.split("</svg>")[0] for part in page.split("<svg ")[1:]]
    lines = [ElementTree.fromstring(f"<svg {each}</svg>").find("path").get("d") for each in charts]
    assert lines[0].count("L") + 1 == curves_page.MOST_POINTS
    points = [tuple(map(float, at.split(","))) for at in lines[2][1:].split(" L")]
    assert len(points) == 2 and points[0][1] > points[1][1], "larger is higher; what is no number is left out"
    assert "validation: glands/inside dice" in page and "validation: glands/inside loss" in page
    assert curves_page.write_curves(tmp_path / "none", "x") is None


def test_pictures_show_the_truth_in_black_and_what_was_found_in_colour(tmp_path):
    case = nuclei_case()
    found = Echo([case]).predict(case.pixels, mpp=0.5).objects["nuclei"]
    blank = replace(case, pixels=np.full_like(case.pixels, 255))
    shifted = replace(found, outlines=replace(found.outlines, points=found.outlines.points + 3))
    picture = drawn(blank.pixels, blank, "nuclei", shifted)
    assert (picture == 0).all(axis=2).any() and (picture == (0, 160, 0)).all(axis=2).any()
    box = Labelled(boxes=np.array([[5.0, 5.0, 20.0, 20.0]]), points=None)
    boxed = FakeCase("b", "g", blank.pixels, 0.5, {"nuclei": lambda: box})
    assert (drawn(boxed.pixels, boxed, "nuclei", found.take(np.zeros(0, np.int64)))[5, 5:20] == 0).all()
    listener = overlays(tmp_path, most=1)
    for name in ("a/b", "c"):
        listener(replace(case, name=name), case.pixels, Echo([case]).predict(case.pixels, mpp=0.5))
    assert [p.name for p in tmp_path.iterdir()] == ["a-b_nuclei.jpg"]
    assert cv2.imread(str(tmp_path / "a-b_nuclei.jpg")).shape == case.pixels.shape


def test_tables_say_the_same_in_each_form():
    rows = figures_of_one()
    lines = [line for line in table(rows).splitlines() if line.startswith("made")]
    assert len(lines) == len(rows) == len([line for line in markdown(rows) if line.startswith("| made")])
    assert len(comma_separated(rows).splitlines()) == len(rows) + 1
    assert "images of" not in table(rows) and "images of" in table([replace(row, split=VALIDATION) for row in rows])
    assert markdown([]) == ["none", ""]


def figures_of_one():
    case = nuclei_case()
    return evaluate(Echo([case]), [case], look=Look(source="made", draws=10)).rows
