"""Measures of a slide's objects: by hand, missing ones told, and through a whole run."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geryon.cli import main
from geryon.cohort.answering import predict_slides
from geryon.cohort.document import read_slide_document
from geryon.cohort.explain import explain_slides
from geryon.cohort.fit import Course, fit_slides
from geryon.cohort.models import FILE
from geryon.cohort.objects import objects_of
from geryon.cohort.question import Question
from geryon.cohort.slides import cohort_of
from geryon.errors import InputError, UsageError
from geryon.events import Warned
from geryon.store.run import read_run, write_run
from geryon.testing.exporters import CLASSES, result_folder, squares
from tests.cohort.cohorts import CODE, volume, write


def results(folder: Path, n: int, **changes: object) -> Path:
    """A whole run that found n nuclei on 2 mm² of tissue."""
    record = result_folder(folder, n)
    write_run(folder, replace(record, folder=None, **{"tissue_mm2": 2.0, **changes}))  # type: ignore[arg-type]
    return folder


def test_measures_by_hand(tmp_path: Path) -> None:
    found = objects_of(results(tmp_path / "a", 50)).measures
    area_um2 = squares(50).area / 4
    assert found["nuclei/log10_count"] == pytest.approx(math.log10(51)) and found["nuclei/per_mm2"] == 25.0
    assert found["nuclei/area_share"] == pytest.approx(area_um2.sum() / 2e6)
    assert found["nuclei/median_area_um2"] == pytest.approx(np.median(area_um2))
    assert (found[f"nuclei/{CLASSES[1]}/share"], found[f"nuclei/{CLASSES[0]}/per_mm2"]) == (1.0, 0.0)
    none = objects_of(results(tmp_path / "b", 0)).measures
    assert list(none) == list(found) and none["nuclei/per_mm2"] == 0.0
    assert math.isnan(none["nuclei/median_area_um2"]) and math.isnan(none[f"nuclei/{CLASSES[0]}/share"])


def test_a_run_that_lost_a_file_is_told(tmp_path: Path) -> None:
    results(tmp_path / "a", 5)
    (tmp_path / "a" / "objects" / "nuclei.parquet").unlink()
    with pytest.raises(InputError, match="files of the run are gone"):
        objects_of(tmp_path / "a")


def table(tmp_path: Path) -> Path:
    """Slides whose label is in the number of their nuclei, and not in their codes."""
    rows = []
    for k in range(12):
        volume(tmp_path, f"s{k:02d}", 0.0, side=2)
        results(tmp_path / f"s{k:02d}", 40 + 60 * (k % 2) + k)
        rows.append({"slide": f"s{k:02d}", "features": f"s{k:02d}", "y": "ab"[k % 2]})
    return write(tmp_path / "slides.csv", rows)


@pytest.mark.parametrize("model", ["mean", "objects"])
def test_objects_are_a_second_modality(tmp_path: Path, model: str) -> None:
    path = table(tmp_path)
    question = Question(labels=("y",), objects=True)
    fitted = fit_slides(path, out=tmp_path / "run", question=question, course=Course(model=model, folds=3, seeds=1))
    assert fitted.figures["slides"]["mean"]["auc"]["value"] > 0.9
    assert CODE == 4


def test_missing_and_other_objects_are_faults(tmp_path: Path) -> None:
    path, question = table(tmp_path), Question(labels=("y",), objects=True)
    (tmp_path / "s03" / "run.json").unlink()
    other = read_run(tmp_path / "s04")
    write_run(tmp_path / "s04", replace(other, folder=None, model=replace(other.model, name="another")))
    with pytest.raises(InputError) as error:
        fit_slides(path, out=tmp_path / "run", question=question, course=Course(model="mean", folds=3, seeds=1))
    assert "s03: no objects" in str(error.value)
    assert "objects of s04 were found by another model than most (oracle)" in str(error.value)
    assert not (tmp_path / "run").exists()


def alone(tmp_path: Path) -> Path:
    """Folders of results without a volume, and a table that says nothing of either."""
    rows = []
    for k in range(12):
        results(tmp_path / "out" / f"s{k:02d}", 40 + 60 * (k % 2) + k, slide=f"s{k:02d}")
        rows.append({"slide": f"s{k:02d}", "patient": f"p{k}", "y": "ab"[k % 2]})
    return write(tmp_path / "slides.csv", rows)


def test_objects_alone_need_no_volumes(tmp_path: Path) -> None:
    path, out, run = alone(tmp_path), tmp_path / "out", tmp_path / "run"
    words = ["--model", "objects", "--label", "y", "--folds", "3", "--seeds", "1", "--quiet"]
    assert main(["slides", "fit", str(path), "--features", str(out), "--out", str(run), *words]) == 0
    document = read_slide_document(run / FILE)
    assert document.encoder is None and document.code == 0 and "nuclei/per_mm2" in document.objects
    told: list[str] = []

    def tell(event: object) -> None:
        told.extend([event.text] if isinstance(event, Warned) else [])

    by_table = predict_slides(run, [path], question=Question(features=out))
    by_folder = predict_slides(run, [out / f"s{k:02d}" for k in range(12)], tell=tell)
    assert by_table.names == by_folder.names == tuple(f"s{k:02d}" for k in range(12))
    assert np.array_equal(by_table.mean, by_folder.mean)
    assert ((by_table.mean[:, 0] > 0.5) == (np.arange(12) % 2 == 1)).all()
    assert any("learnt from s00" in text for text in told)
    volume(tmp_path, "other", 1.0)
    with pytest.raises(InputError, match="other: no objects: .*no run.json"):
        predict_slides(run, [tmp_path / "other"])
    with pytest.raises(UsageError, match="sees no cells"):
        explain_slides(run, [out / "s00"], out=tmp_path / "e")


def test_the_column_of_objects_is_enough(tmp_path: Path) -> None:
    alone(tmp_path)
    rows = [{"slide": f"s{k:02d}", "y": "ab"[k % 2], "objects": f"out/s{k:02d}"} for k in range(12)]
    path = write(tmp_path / "own.csv", rows)
    course = Course(model="objects", folds=3, seeds=1)
    fit_slides(path, out=tmp_path / "run", question=Question(labels=("y",)), course=course)
    with pytest.raises(UsageError, match="there is no column 'features', and no folder of volumes"):
        fit_slides(path, out=tmp_path / "b", question=Question(labels=("y",)), course=replace(course, model="mean"))
    assert not (tmp_path / "b").exists()


def test_a_bag_in_a_folder_of_results_brings_its_objects(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    results(tmp_path / "s0", 40)
    with h5py.File(tmp_path / "s0" / "s0.h5", "w") as file:
        file["features"] = np.ones((5, 4), np.float32)
    cohort = cohort_of([tmp_path / "s0" / "s0.h5"], Question(objects=True))
    assert cohort.measures[0, cohort.measure_names.index("nuclei/per_mm2")] == 20.0


def test_faults_of_objects_alone_are_told_at_once(tmp_path: Path) -> None:
    path, question = alone(tmp_path), Question(labels=("y",), features=tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "s03")
    shutil.rmtree(tmp_path / "out" / "s05")
    shutil.copytree(tmp_path / "out" / "s07", tmp_path / "out" / "s05")
    glass = read_run(tmp_path / "out" / "s04")
    write_run(tmp_path / "out" / "s04", replace(glass, folder=None, tissue_mm2=0.0))
    course = Course(model="objects", folds=3, seeds=1)
    with pytest.raises(InputError) as error:
        fit_slides(path, out=tmp_path / "run", question=question, course=course)
    told = str(error.value)
    assert "3 faults" in told and "s03: no objects: " in told and "no tissue in s04" in told
    assert "s05 and s07 hold the same codes or objects: one slide under several names" in told
    assert not (tmp_path / "run").exists()
