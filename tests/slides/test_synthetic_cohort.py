"""Slides that are painted when read, lesions of known area, and a cohort of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Polygon

from geryon.cli import main
from geryon.errors import InputError, UsageError
from geryon.flows.synth_cohort import synth_cohort
from geryon.slides.reader import Reader, open_slide
from geryon.slides.synthetic import SyntheticSlide
from geryon.slides.synthetic import reader as reader_of_settings
from geryon.slides.synthetic.cohort import Law, members, survival
from geryon.slides.synthetic.measured import Measured, lesion_raster, measured
from geryon.testing.readers import ReaderContract

SMALL = SyntheticSlide(width_um=160, height_um=110, seed=3, mpp=0.5, lesion_um=(80, 55, 60), signet=0.2)


def written(folder: Path, slide: SyntheticSlide) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps(slide.settings()), encoding="utf-8")
    return path


class TestSettingsAsSlide(ReaderContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = written(tmp_path, SMALL)

    def open_reader(self) -> Reader:
        return reader_of_settings.open_reader(self.path)

    def expected(self) -> np.ndarray:
        return SMALL.render(SMALL.frame.box)


def test_settings_open_as_a_slide_that_knows_its_resolution(tmp_path) -> None:
    with open_slide(written(tmp_path, SMALL)) as slide:
        assert (slide.reader, slide.size, slide.mpp, slide.mpp_source) == (
            "synthetic",
            (320, 220),
            (0.5, 0.5),
            "scanner",
        )
        assert slide.name == "a"
        coarse = slide.read(slide.frame.box, 1.0)
    means = SMALL.render(SMALL.frame.box).reshape(110, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.abs(coarse - means).max() <= 1


@pytest.mark.parametrize(
    "text", ['{"format": "geryon synthetic slide 0"}', '{"format": "geryon synthetic slide 2"}', "{}"]
)
def test_other_json_is_no_slide(tmp_path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError):
        open_slide(tmp_path / "a.json")


def test_all_malignant_glands_are_in_the_lesion() -> None:
    slide = SyntheticSlide(width_um=1500, height_um=900, seed=5, lesion_um=(500, 450, 330))
    drawn = slide.objects("glands", slide.frame.box)
    away = np.array([np.hypot(*(o.mean(axis=0) * slide.mpp - (500, 450))) for o in drawn.outlines])
    is_malignant = np.array(drawn.classes) == "malignant"
    assert is_malignant.sum() > 5 and (~is_malignant).sum() > 5
    assert away[is_malignant].max() < 330 + 90 and away[~is_malignant].min() > 330 - 90  # its border sways
    raster = lesion_raster(slide, 4.0)
    assert raster.mean() * 1500 * 900 == pytest.approx(np.pi * 330**2, rel=0.25)
    none = SyntheticSlide(width_um=600, height_um=600, seed=5, malignant=1.0, lesion_um=(0, 0, 0))
    assert set(none.objects("glands", none.frame.box).classes) == {"benign"}


def test_areas_are_those_of_the_outlines_inside_the_slide() -> None:
    slide = SyntheticSlide(width_um=700, height_um=500, seed=8, lesion_um=(100, 100, 300), signet=0.3, cribriform=1.0)
    found = measured(slide)
    drawn = slide.objects("glands", slide.frame.box)
    edges = Polygon([(0, 0), (1400, 0), (1400, 1000), (0, 1000)])
    area = {"benign": 0.0, "malignant": 0.0}
    for name, outline in zip(drawn.classes, drawn.outlines, strict=True):
        area[name] += Polygon(outline).intersection(edges).area * 0.25e-6
    assert found.malignant_mm2 == pytest.approx(area["malignant"]) and found.malignant_mm2 > 0
    assert found.glands_mm2 == pytest.approx(sum(area.values()))
    pixels = np.isin(
        slide.truth("glands", slide.frame.box, 0.5).objects, drawn.ids[np.array(drawn.classes) == "malignant"]
    )
    assert pixels.sum() * 0.25e-6 == pytest.approx(found.malignant_mm2, rel=0.01)
    assert found.cribriform_mm2 == found.malignant_mm2 and found.grade == 3
    assert 0 < found.tissue_mm2 <= 0.35 + 0.01 and found.signet_rings > 0
    assert measured(SyntheticSlide(width_um=300, height_um=300, seed=1, lesion_um=(0, 0, 0))).grade == 0


def test_a_cohort_is_drawn_by_number_and_names_say_nothing() -> None:
    ten, four = (list(members(n, size_um=(1500, 1500), mpp=0.5, seed=7)) for n in (10, 4))
    assert ten[:4] == four and [m.number for m in ten] == list(range(10))
    many = list(members(400, size_um=(1500, 1500), mpp=0.5, seed=0))
    slides = np.bincount([m.patient for m in many])[:-1]
    assert set(slides) == {1, 2, 3}
    share = np.array([np.pi * m.slide.lesion_um[2] ** 2 / (m.slide.tissue_mm2 * 1e6) for m in many])
    assert 0.1 < (share == 0).mean() < 0.3 and (share > 0.6).mean() > 0.1 and ((share > 0) & (share < 0.2)).mean() > 0.1


def test_survival_follows_the_stated_hazards() -> None:
    def of(share: float) -> list[Measured]:
        glands = {"tissue_mm2": 1.0, "glands_mm2": 1.0, "malignant_mm2": share, "cribriform_mm2": 0.0}
        return [Measured(**glands, signet_rings=0)]

    law = Law(grade=0.0)
    healthy, ill = (np.array([survival(of(s), law, seed=1, patient=k) for k in range(3000)]) for s in (0.0, 1.0))
    assert law.log_hazard(of(1.0)) == law.lesion_share
    # Weibull: of those of log hazard h, exp(-(t / scale)^shape e^h) live past t; nobody is censored before 24 months
    for found, hazard in ((healthy, 0.0), (ill, law.lesion_share)):
        alive = np.exp(-((24 / law.scale_months) ** law.shape) * np.exp(hazard))
        assert (found[:, 0] > 24).mean() == pytest.approx(alive, abs=0.03)
    assert healthy[:, 1].mean() < 0.6 < 0.9 < ill[:, 1].mean()
    assert (ill[:, 0] <= healthy[:, 0]).all()  # the same chance, so the ill never live longer


def test_the_table_tells_what_was_measured(tmp_path) -> None:
    assert main(["synth", str(tmp_path), "--cohort", "5", "--size-mm", "0.5x0.4", "--seed", "3", "--quiet"]) == 0
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [r["slide"] for r in rows] == [f"s{i:05d}" for i in range(5)]
    for row in rows:
        found = measured(SyntheticSlide.from_file(tmp_path / row["path"]))
        assert float(row["lesion_mm2"]) == pytest.approx(found.malignant_mm2, abs=1e-5)
        assert int(row["has_lesion"]) == (found.malignant_mm2 > 0) and int(row["grade"]) == found.grade
        assert float(row["density"]) == pytest.approx(found.density_mm2, abs=1e-3)
        assert float(row["time"]) > 0 and row["event"] in ("0", "1")
    times = {(r["patient"], r["time"], r["event"]) for r in rows}
    assert len(times) == len({r["patient"] for r in rows})  # one answer a patient
    before = (tmp_path / "table.csv").read_bytes()
    assert synth_cohort(tmp_path, slides=5, size_um=(500, 400), seed=3).read_bytes() == before
    with pytest.raises(UsageError):
        synth_cohort(tmp_path, slides=0, size_um=(500, 400))
