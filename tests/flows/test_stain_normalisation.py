"""Segment with a normalised stain: recorded, resumed to the same bytes, and never a reason to fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon.errors import UsageError
from geryon.events import Event, Warned
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment
from geryon.nets.model import Model
from geryon.slides.synthetic.slide import SyntheticSlide
from geryon.slides.synthetic.stain import Look
from geryon.store.run import RunRecord, read_run
from tests.flows.test_segment import Stopped, contents, dying
from tests.flows.world import make_world, oracle

CUTTING = Cutting(window_px=256, halo_px=32, tile_px=256)
MACENKO = Options(cutting=CUTTING, mpp=0.5, normalise="macenko")


@dataclass
class Dark:
    """An engine that takes what is dark for nuclei, so that its answer follows the stain."""

    name: str = "dark"
    lanes: int = 1
    batch: int = 1
    precision: str = "exact"

    def maps(self, images: list, places: list) -> list:
        return [self._maps(cv2.GaussianBlur(255 - image[..., 0], (0, 0), 2)) for image in images]

    def _maps(self, depth: np.ndarray) -> dict[str, np.ndarray]:
        inside = np.where(depth > 110, 255, 0).astype(np.uint8)
        classes = np.zeros((depth.shape[0] // 2, depth.shape[1] // 2, 7), np.uint8)
        classes[..., 0] = 255
        return {"nuclei/inside": inside[..., None], "nuclei/depth": depth[..., None], "nuclei/class": classes}


def net() -> Model:
    return replace(oracle(make_world(64, 64, nuclei=1, glands=1), ("nuclei",)), engine=Dark())


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    look = Look(haematoxylin_gain=0.6, eosin_gain=1.3, haematoxylin=(0.52, 0.78, 0.35))
    slide = SyntheticSlide(width_um=400, height_um=300, seed=3, look=look)
    path = tmp_path_factory.mktemp("slides") / "field.png"
    cv2.imwrite(str(path), slide.render(slide.frame.box)[..., ::-1])
    return path


def run(picture: Path, out: Path, options: Options = MACENKO, model: Model | None = None) -> RunRecord:
    return segment(picture, out=out, model=model or net(), options=options)


def test_it_changes_what_is_found_and_stands_in_run_json(picture: Path, tmp_path: Path) -> None:
    plain = run(picture, tmp_path / "plain", replace(MACENKO, normalise=""))
    run(picture, tmp_path / "done")
    assert plain.stain == {} and "stain normalisation" not in plain.question
    assert contents(tmp_path / "plain" / "field") != contents(tmp_path / "done" / "field")
    stain = read_run(tmp_path / "done" / "field").stain
    assert stain["method"] == "macenko" and stain["applied"] and stain["reason"] == ""
    assert set(stain["slide"]) == {"haematoxylin", "eosin", "strengths", "glass"}


def test_an_interrupted_run_resumes_to_the_same_bytes(picture: Path, tmp_path: Path) -> None:
    run(picture, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(picture, tmp_path / "cut", model=dying(net(), 7))
    assert not (tmp_path / "cut" / "field" / "run.json").exists()
    run(picture, tmp_path / "cut")
    assert contents(tmp_path / "cut" / "field") == contents(tmp_path / "whole" / "field")


def test_tiles_change_nothing(picture: Path, tmp_path: Path) -> None:
    run(picture, tmp_path / "small")
    run(picture, tmp_path / "large", replace(MACENKO, cutting=replace(CUTTING, tile_px=512)))
    assert contents(tmp_path / "small" / "field") == contents(tmp_path / "large" / "field")


@pytest.mark.parametrize(("first", "then"), [("", "macenko"), ("macenko", ""), ("macenko", "reinhard")])
def test_results_of_another_normalisation_are_not_taken(picture: Path, tmp_path: Path, first: str, then: str) -> None:
    run(picture, tmp_path, replace(MACENKO, normalise=first))
    with pytest.raises(UsageError, match="another stain normalisation"):
        run(picture, tmp_path, replace(MACENKO, normalise=then))
    run(picture, tmp_path, replace(MACENKO, normalise=first))


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_a_blank_slide_falls_back_and_is_finished(tmp_path: Path, method: str) -> None:
    path, told = tmp_path / "blank.png", []
    cv2.imwrite(str(path), np.full((500, 600, 3), 243, np.uint8))

    def tell(event: Event) -> None:
        told.extend([event.text] if isinstance(event, Warned) else [])

    options = replace(MACENKO, normalise=method)
    record = segment(path, out=tmp_path, model=net(), options=options, tell=tell)
    assert record.status == "complete" and not record.stain["applied"]
    assert "too little stained tissue" in record.stain["reason"]
    assert any(record.stain["reason"] in text for text in told)
    assert any(record.stain["reason"] in text for text in record.warnings)
    plain = segment(path, out=tmp_path / "plain", model=net(), options=replace(MACENKO, normalise=""))
    assert record.counts == plain.counts


def test_an_unknown_method_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match="no normalisation is called 'vahadane'"):
        Options(normalise="vahadane")
