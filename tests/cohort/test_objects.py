"""Measures of a slide's objects: by hand, missing ones told, and through a whole run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geryon.cohort.fit import Course, fit_slides
from geryon.cohort.objects import objects_of
from geryon.cohort.question import Question
from geryon.errors import InputError
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
