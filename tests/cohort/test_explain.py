"""Evidence on the slide: files that others open, whose networks are asked, and how maps are scored."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from shapely.geometry import shape

from geryon.cli import main
from geryon.cohort.agreement import best_threshold, lesion_cells, otsu, region, score, smoothed
from geryon.cohort.answering import cohort_for
from geryon.cohort.document import EncoderUsed, Member, SlideModelDocument, TargetDocument, digest, save_slide_model
from geryon.cohort.explain import Explain, evidence, explain_slides
from geryon.cohort.models import load_slide_model, network_of, tensors_of
from geryon.cohort.question import Question
from geryon.errors import InputError, UsageError
from geryon.slides.synthetic import SyntheticSlide
from geryon.slides.synthetic.measured import lesion_raster
from geryon.space.grid import Grid
from geryon.store.rasters import read_values
from tests.cohort.cohorts import ABOUT, CODE, volume, write

ENCODER = EncoderUsed(
    name=ABOUT.encoder, sha256=ABOUT.encoder_sha256, code=CODE, mpp=0.5, patch_um=64.0, stride_um=64.0
)


def model_of(folder, kind: str, target: TargetDocument, *, folds: dict[str, int] | None = None, cells: int = 8):
    """A model with two members of folds 1 and 2, their weights drawn."""
    document = SlideModelDocument(
        name="m",
        version="1",
        model=kind,
        settings={"cells": cells, "width": 8} if kind == "cnn" else {},
        target=target,
        encoder=ENCODER,
        members=(Member(fold=1, seed=0), Member(fold=2, seed=0)),
        folds={digest(name): fold for name, fold in (folds or {}).items()},
    )
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(network_of(document).eval())
        for weights in networks[-1].parameters():
            if weights.ndim > 1:  # untrained, and eight layers deep: nothing would come through
                torch.nn.init.kaiming_normal_(weights)
    save_slide_model(folder / "slide_model.safetensors", [tensors_of(n) for n in networks], document)
    return folder / "slide_model.safetensors"


AREA = TargetDocument(kind="regression", columns=("area",))
TYPE = TargetDocument(kind="multiclass", columns=("type",), classes=("x", "y", "z"))


@pytest.fixture
def two(tmp_path):
    """Two volumes, one with a corner of glass, and a table of their patients."""
    tissue = np.ones((9, 9), bool)
    tissue[:3, :4] = False
    volume(tmp_path / "out", "a", 1.0, side=9, tissue=tissue)
    volume(tmp_path / "out", "b", 0.0, side=9)
    rows = [{"slide": n, "patient": p, "features": f"out/{n}"} for n, p in (("a", "p1"), ("b", "p2"))]
    return write(tmp_path / "slides.csv", rows), tissue


def test_the_files_lie_on_the_slide(two, tmp_path) -> None:
    table, tissue = two
    path = model_of(tmp_path, "cnn", AREA)
    said = ["slides", "explain", str(path), str(table), "--out", str(tmp_path / "e"), "--quiet"]
    assert main(said) == 0
    folder = tmp_path / "e" / "a"
    values, name, mpp = read_values(folder / "evidence_grad-cam.ome.tif")
    assert name == "grad-cam predicted_area" and mpp == 64.0
    assert values.dtype == np.float32 and np.array_equal(np.isfinite(values), tissue)
    with tifffile.TiffFile(folder / "evidence_grad-cam_colours.ome.tif") as file:
        assert file.series[0].shape == (9, 9, 3) and 'PhysicalSizeX="64.0"' in (file.ome_metadata or "")
        assert (file.asarray()[~tissue] == 255).all()
    told = json.loads((folder / "evidence_grad-cam.json").read_text())
    assert told["networks"] == 2 and told["networks_have_not_seen_the_patient"]  # a new patient
    where = region(values, told["threshold"])
    drawn = json.loads((folder / "evidence_grad-cam.geojson").read_text())["features"]
    shapes = [shape(each["geometry"]) for each in drawn]
    # cells of 64 µm are 128 px, and the slide is 9 x 128 px wide
    assert sum(each.area for each in shapes) == pytest.approx(where.sum() * 128**2, rel=0.02) and where.any()
    rows, columns = np.nonzero(where)
    assert min(each.bounds[0] for each in shapes) == columns.min() * 128
    assert max(each.bounds[3] for each in shapes) == (rows.max() + 1) * 128
    assert told["region_mm2"] == pytest.approx(where.sum() * 0.064**2)
    assert {each["properties"]["objectType"] for each in drawn} == {"annotation"}
    picture = cv2.imread(str(folder / "evidence_grad-cam.png"))
    assert picture.shape == (900, 1812, 3)
    before = (folder / "evidence_grad-cam.ome.tif").stat().st_mtime_ns
    assert main(said) == 0 and (folder / "evidence_grad-cam.ome.tif").stat().st_mtime_ns == before
    for lost in ("evidence_grad-cam.png", "evidence_grad-cam_colours.ome.tif"):
        (folder / lost).unlink()
        assert main(said) == 0 and (folder / lost).exists()
    shutil.rmtree(tmp_path / "out" / "a" / "features.zarr")
    volume(tmp_path / "out", "a", 5.0, side=9, tissue=tissue)  # the slide was compressed anew
    assert main(said) == 0
    fresh, _, _ = read_values(folder / "evidence_grad-cam.ome.tif")
    assert not np.allclose(fresh, values, equal_nan=True)
    assert main([*said, "--threshold", "1e9"]) == 0  # another question: made anew
    assert json.loads((folder / "evidence_grad-cam.geojson").read_text())["features"] == []


def test_a_patient_is_explained_by_networks_that_did_not_see_it(two, tmp_path) -> None:
    table, _ = two
    path = model_of(tmp_path, "cnn", AREA, folds={"p1": 1, "p2": 2})
    model = load_slide_model(path)
    cohort = cohort_for([table], Question(grid=True), model.document)
    for i, member in ((0, 0), (1, 1)):
        found, only = evidence(model, cohort, i), evidence(model, cohort, i, members=[member])
        assert found.networks == 1 and found.is_held_out
        assert np.array_equal(found.values, only.values, equal_nan=True)
    other = evidence(model, cohort, 0, members=[1])
    assert not other.is_held_out and not np.allclose(other.values, evidence(model, cohort, 0).values, equal_nan=True)


def test_a_slide_without_its_patient_is_known_by_its_name_or_codes(two, tmp_path) -> None:
    path = model_of(tmp_path, "cnn", AREA, folds={"p1": 1, "p2": 2})
    model = load_slide_model(path)
    bare = cohort_for([tmp_path / "out" / "a", tmp_path / "out" / "b"], Question(grid=True), model.document)
    assert evidence(model, bare, 0).networks == 2  # nothing says that it was learnt from
    known = {digest("a"): 1, digest(bare.slides[1].identity): 2}
    model = replace(model, document=replace(model.document, slides=known))
    for i, member in ((0, 0), (1, 1)):
        found, only = evidence(model, bare, i), evidence(model, bare, i, members=[member])
        assert found.networks == 1 and found.is_held_out
        assert np.array_equal(found.values, only.values, equal_nan=True)


def test_each_kind_of_model_and_class_has_its_map(two, tmp_path) -> None:
    table, tissue = two
    maps = {}
    for kind, methods in (("cnn", ("grad-cam", "occlusion")), ("attention", ("attention",)), ("mean", ("occlusion",))):
        path = model_of(tmp_path / kind, kind, TYPE)
        model = load_slide_model(path)
        cohort = cohort_for([table], Question(grid=True), model.document)
        for method in methods:
            for output in ("x", "z"):
                found = evidence(model, cohort, 0, Explain(method=method, output=output))
                assert found.output == output and np.array_equal(np.isfinite(found.values), tissue)
                maps[kind, method, output] = found.values
    for kind, method in (("cnn", "grad-cam"), ("cnn", "occlusion"), ("mean", "occlusion")):
        assert not np.allclose(maps[kind, method, "x"], maps[kind, method, "z"], equal_nan=True)
    assert np.array_equal(maps["attention", "attention", "x"], maps["attention", "attention", "z"], equal_nan=True)
    assert evidence(model, cohort, 0).output in TYPE.classes


def test_what_cannot_be_explained_is_told(two, tmp_path) -> None:
    table, _ = two
    path = model_of(tmp_path, "cnn", TYPE)
    for asked, says in (({"method": "attention"}, "grad-cam, occlusion"), ({"output": "q"}, "x, y, z")):
        with pytest.raises(UsageError, match=says):
            explain_slides(path, [table], out=tmp_path / "e", asked=Explain(**asked))
    with pytest.raises(InputError, match="no slide a"):
        explain_slides(path, [table], out=tmp_path / "e", asked=Explain(pictures=tmp_path))
    assert not list((tmp_path / "e").rglob("*.json"))


def test_slides_that_would_share_a_folder_or_leave_it_are_refused(two, tmp_path) -> None:
    path = model_of(tmp_path, "cnn", AREA)
    volume(tmp_path / "more", "a", 2.0, side=9)
    volume(tmp_path / "more", "up", 3.0, side=9)
    given = lambda: {str(p) for p in tmp_path.rglob("*")}  # noqa: E731
    before = given()
    with pytest.raises(UsageError, match=r"same name would share a folder of evidence: .*out.*more"):
        explain_slides(path, [tmp_path / "out" / "a", tmp_path / "more" / "a"], out=tmp_path / "e")
    assert given() == before
    for name in ("../up", "x/up", "..", str(tmp_path / "up"), "x\\up"):
        table = write(tmp_path / "t.csv", [{"slide": name, "features": "more/up"}])
        before = given()
        with pytest.raises(InputError, match="can't name a folder of evidence"):
            explain_slides(path, [table], out=tmp_path / "e")
        assert given() == before


def test_a_map_of_the_truth_agrees_with_it() -> None:
    truth = np.zeros((20, 20), bool)
    truth[4:12, 5:15] = True
    rng = np.random.default_rng(0)
    values = (truth + rng.normal(0, 0.05, truth.shape)).astype(np.float32)
    values[:2] = np.nan
    at = best_threshold([values], [truth])
    found = score(values, truth, at)
    assert found.jaccard > 0.9 and found.hit and found.true_share == pytest.approx(80 / 360)
    assert abs(at - 0.5) < 0.3 and abs(otsu(values) - 0.5) < 0.3
    wrong = score(-values, truth, at)
    assert wrong.jaccard == 0 and not wrong.hit
    nothing = score(values, np.zeros_like(truth), at)
    assert np.isnan(nothing.jaccard) and nothing.hit is None and nothing.found_share > 0.1
    with pytest.raises(UsageError):
        best_threshold([values], [np.zeros_like(truth)])


def test_the_clean_up_drops_specks_and_fills_holes() -> None:
    values = np.zeros((16, 16), np.float32)
    values[4:12, 4:12] = 1
    values[7, 7] = 0  # a hole of one cell
    values[14, 1] = 1  # a speck
    values[0, :] = np.nan
    found = region(values, 0.5)
    assert found[7, 7] and not found[14, 1] and not found[0].any()
    assert found[5:11, 5:11].all() and not found[:3].any()
    assert smoothed(values)[1, 15] == 0 and np.isnan(smoothed(values)[0, 0])


def test_true_cells_are_those_that_the_lesion_fills() -> None:
    slide = SyntheticSlide(width_um=1000, height_um=700, seed=2, lesion_um=(600, 350, 250))
    grid = Grid(level0=slide.frame, patch_um=64.0, stride_um=64.0)
    cells = lesion_cells(slide, grid)
    assert cells.shape == (11, 16)
    row, column = np.argwhere(cells).mean(axis=0)
    assert abs(row * 64 + 32 - 350) < 90 and abs(column * 64 + 32 - 600) < 90
    tumour = lesion_raster(slide, 8.0).sum() * 8e-3**2
    assert cells.sum() * 0.064**2 == pytest.approx(tumour, rel=0.15) and tumour > 0.1
