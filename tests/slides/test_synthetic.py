"""The synthetic slide: the same at a place whatever box is asked, and a truth that fits the picture."""

from __future__ import annotations

import json
import pickle
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from geryon.errors import InputError, UsageError
from geryon.slides.synthetic import SyntheticSlide, between, glands, noise, paint, stain
from geryon.slides.synthetic.layout import TISSUES
from geryon.slides.synthetic.polygons import CORNERS, edge_distance, fill
from geryon.space.boxes import Box
from geryon.tasks.task import get_task

SLIDE = SyntheticSlide(width_um=620, height_um=420, seed=3, malignant=0.5)
FULL = SLIDE.frame.box


@cache
def whole() -> np.ndarray:
    return SLIDE.render(FULL)


@cache
def whole_truth(task: str, mpp: float) -> object:
    return SLIDE.truth(task, FULL, mpp)


def forget() -> None:
    for cached in (paint.chunk, glands.glands_of, glands.spines, between.cells_between):
        cached.cache_clear()


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 900), st.integers(0, 600), st.integers(1, 340), st.integers(1, 240))
def test_any_box_is_the_crop_of_the_whole_picture(x: int, y: int, width: int, height: int) -> None:
    box = Box(SLIDE.frame, x, y, x + width, y + height)
    assert np.array_equal(SLIDE.render(box), whole()[y : y + height, x : x + width])


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(("nuclei", "glands", "lumina", "tissue")),
    st.sampled_from((0.5, 1.0, 2.0)),
    st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.02, 0.5), st.floats(0.02, 0.5)),
)
def test_any_box_is_the_crop_of_the_whole_truth(task: str, mpp: float, part: tuple[float, ...]) -> None:
    true = whole_truth(task, mpp)
    frame = SLIDE.frame.at(mpp)
    x, y = int(part[0] * frame.width), int(part[1] * frame.height)
    width, height = 1 + int(part[2] * (frame.width - x)), 1 + int(part[3] * (frame.height - y))
    got = SLIDE.truth(task, Box(frame, x, y, x + width, y + height), mpp)
    crop = np.s_[y : y + height, x : x + width]
    assert np.array_equal(got.objects, true.objects[crop])
    assert got.classes == {i: true.classes[i] for i in np.unique(true.objects[crop]).tolist() if i}
    if task == "tissue":
        assert np.array_equal(got.raster, true.raster[crop])


def test_the_same_slide_is_made_again_without_any_memory_of_it() -> None:
    box = Box(SLIDE.frame, 400, 300, 620, 500)
    before = SLIDE.render(box), SLIDE.truth("nuclei", box, 0.5).objects
    forget()
    after = pickle.loads(pickle.dumps(SLIDE)).truth("nuclei", box, 0.5).objects, SLIDE.render(box)
    assert np.array_equal(before[0], after[1])
    assert np.array_equal(before[1], after[0])


def test_truth_agrees_with_the_analytic_outlines() -> None:
    for task in ("nuclei", "glands", "lumina"):
        true = whole_truth(task, 1.0)
        drawn = SLIDE.objects(task, FULL)
        assert len(set(drawn.ids.tolist())) == len(drawn.ids) > 0
        assert set(true.classes) <= set(drawn.ids.tolist())
        names = dict(zip(drawn.ids.tolist(), drawn.classes, strict=True))
        assert all(names[i] == name for i, name in true.classes.items())
        for i, outline in list(zip(drawn.ids.tolist(), drawn.outlines, strict=True))[:30]:
            y, x = np.nonzero(true.objects == i)
            at = np.stack([2 * (x + 0.5), 2 * (y + 0.5)], axis=1)
            assert (edge_distance(at, outline) > -1e-6).all()


def test_every_pixel_at_any_resolution_asks_what_lies_at_its_centre() -> None:
    fine, coarse = whole_truth("glands", 0.4).objects, whole_truth("glands", 1.2).objects
    rows, columns = min(len(fine) // 3, len(coarse)), min(fine.shape[1] // 3, coarse.shape[1])
    assert np.array_equal(fine[1::3, 1::3][:rows, :columns], coarse[:rows, :columns])


def test_lumina_lie_in_their_gland_and_glands_do_not_meet() -> None:
    slide = SyntheticSlide(width_um=1500, height_um=1100, seed=5, malignant=0.5)
    found = slide.objects("glands", slide.frame.box), slide.objects("lumina", slide.frame.box)
    shapes = [Polygon(o) for o in found[0].outlines]
    assert all(shape.is_valid for shape in shapes)
    assert {"benign", "malignant"} == set(found[0].classes)
    of_id = dict(zip(found[0].ids.tolist(), shapes, strict=True))
    for i, lumen in zip(found[1].ids.tolist(), found[1].outlines, strict=True):
        group, rest = divmod(i - 1, 1024)
        assert of_id[16 * group + rest // 64 + 1].contains(Polygon(lumen))
    for k, shape in enumerate(shapes):
        assert not any(shape.intersects(other) for other in shapes[:k])


def test_nuclei_have_our_classes_and_hardly_overlap() -> None:
    true = whole_truth("nuclei", 0.5)
    drawn = SLIDE.objects("nuclei", FULL)
    assert set(drawn.classes) <= set(get_task("nuclei").class_names)
    assert {"epithelial", "lymphocyte", "connective"} <= set(drawn.classes)
    assert all(outline.shape == (CORNERS, 2) for outline in drawn.outlines)
    inside = [Polygon(o) for o in drawn.outlines if o.min() > 0 and o[:, 0].max() < 1240 and o[:, 1].max() < 840]
    drawn_px = sum(p.area for p in inside)
    ids = [
        i
        for i, o in zip(drawn.ids.tolist(), drawn.outlines, strict=True)
        if o.min() > 0 and o[:, 0].max() < 1240 and o[:, 1].max() < 840
    ]
    assert np.isin(true.objects, ids).sum() > 0.96 * drawn_px


def test_epithelial_nuclei_lie_in_glands_and_the_others_outside() -> None:
    glands_, nuclei = whole_truth("glands", 0.5), whole_truth("nuclei", 0.5)
    own = [i for i, name in nuclei.classes.items() if name == "epithelial"]
    is_own = np.isin(nuclei.objects, own)
    assert (glands_.objects[is_own] > 0).mean() > 0.99
    assert (glands_.objects[(nuclei.objects > 0) & ~is_own] > 0).mean() < 0.05
    assert not whole_truth("lumina", 0.5).objects[is_own].any()


def test_the_tissue_raster_uses_the_names_of_the_task_and_knows_them_all() -> None:
    assert get_task("tissue").class_names == TISSUES
    big = SyntheticSlide(width_um=8000, height_um=8000, seed=1)
    true = big.truth("tissue", big.frame.box, 16.0)
    assert true.raster_names == TISSUES
    assert set(np.unique(true.raster)) == set(range(1, 10))


def test_nuclei_show_as_darker_than_what_is_around() -> None:
    grey = whole().mean(axis=2)
    nuclei = whole_truth("nuclei", 0.5).objects > 0
    assert grey[nuclei].mean() < grey[~nuclei].mean() - 30


def test_glass_is_bright_and_takes_hardly_any_time() -> None:
    slide = SyntheticSlide(width_um=20_000, height_um=20_000, seed=2, tissue_mm2=4)
    forget()
    assert slide.render(Box(slide.frame, 0, 0, 3000, 2000)).mean() > 225
    assert glands.glands_of.cache_info().misses == 0
    raster = slide.truth("tissue", slide.frame.box, 40.0).raster
    assert (raster != 1 + TISSUES.index("background")).mean() * 400 == pytest.approx(4, rel=0.2)


def test_seeds_differ_and_nothing_lies_outside_the_slide() -> None:
    other = SyntheticSlide(width_um=620, height_um=420, seed=4, malignant=0.5)
    box = Box(other.frame, 0, 0, 300, 300)
    assert (other.render(box) != whole()[:300, :300]).mean() > 0.5
    outside = SLIDE.truth("nuclei", Box(SLIDE.frame, -100, -60, 0, 900), 0.5)
    assert outside.objects.shape == (960, 100) and not outside.objects.any() and outside.classes == {}
    assert (SLIDE.render(Box(SLIDE.frame, 1240, 0, 1250, 10)) == 255).all()


def test_settings_make_the_same_slide_again(tmp_path) -> None:
    path = tmp_path / "a.truth.json"
    path.write_text(json.dumps(SLIDE.settings()))
    again = SyntheticSlide.from_file(tmp_path / "a.tiff")
    box = Box(SLIDE.frame, 100, 100, 200, 180)
    assert np.array_equal(again.render(Box(again.frame, 100, 100, 200, 180)), SLIDE.render(box))
    assert again.settings() == SLIDE.settings()


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"format": "other"}'])
def test_a_truth_file_that_is_none_is_refused(tmp_path, text: str) -> None:
    (tmp_path / "a.truth.json").write_text(text)
    with pytest.raises(InputError):
        SyntheticSlide.from_file(tmp_path / "a.tiff")


def test_all_faults_of_the_settings_are_told_at_once() -> None:
    with pytest.raises(UsageError) as told:
        SyntheticSlide(width_um=100, height_um=100, malignant=2, mpp=9)
    assert "2 malignant" in str(told.value) and "9 µm/px" in str(told.value)
    with pytest.raises(UsageError):
        SLIDE.truth("teeth", FULL, 0.5)


def test_filling_takes_exactly_the_pixels_whose_centre_is_inside() -> None:
    square = np.array([[1.0, 1.0], [4.0, 1.0], [4.0, 3.0], [1.0, 3.0]])
    got = fill(np.zeros((5, 6), np.int32), [square], np.array([7]), x_px=np.arange(6) + 0.5, y_px=np.arange(5) + 0.5)
    assert np.argwhere(got == 7).tolist() == [[r, c] for r in (1, 2) for c in (1, 2, 3)]


def test_noise_says_the_same_of_a_place_whatever_grid_it_is_asked_on() -> None:
    x, y = np.arange(-40, 90) * 0.5 + 0.25, np.arange(7, 60) * 0.5 + 0.25
    for made in (noise.on_grid, noise.speckle):
        whole_, part = made(3, 9, 2.3, x, y), made(3, 9, 2.3, x[11:70], y[5:31])
        np.testing.assert_allclose(part, whole_[5:31, 11:70], atol=1e-6)
        assert whole_.std() > 0.1 and not np.allclose(whole_, made(4, 9, 2.3, x, y))


def test_splines_between_lattice_values_add_up() -> None:
    first, cell, weights = noise._weights(np.array([-1.5, 0.0, 0.25, 7.9]))
    assert first == -3 and cell.tolist() == [0, 2, 2, 9]
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    centre = (weights * (first + cell + np.arange(4)[:, None])).sum(axis=0)
    np.testing.assert_allclose(centre, [-1.5, 0.0, 0.25, 7.9], atol=1e-6)  # cubic B-splines keep straight lines


def test_the_two_nearest_sites_are_the_nearest_of_all() -> None:
    u, v = np.meshgrid(np.linspace(-2.3, 3.1, 23), np.linspace(0.4, 4.0, 17))
    i, j = np.meshgrid(np.arange(-8, 9), np.arange(-6, 11))
    sites = [each + 0.5 + 0.8 * (noise.hashed(5, 28 + k, i, j) - 0.5) for k, each in enumerate((i, j))]
    every = np.hypot(u[..., None] - sites[0].ravel(), v[..., None] - sites[1].ravel())
    every.sort(axis=-1)
    first, second = noise.two_nearest(5, 28, u, v, 0.8)
    np.testing.assert_allclose(first, every[..., 0], atol=1e-5)
    np.testing.assert_allclose(second, every[..., 1], atol=1e-5)


def test_light_is_what_beer_and_lambert_say() -> None:
    look = stain.Look(haematoxylin_gain=0.8, eosin_gain=0.6, gamma=1.1, haze=0.0, sharpen=0.0)
    h, e, blood = (np.full((24, 24), amount, np.float32) for amount in (0.5, 0.3, 0.1))
    vectors = np.array([look.haematoxylin, look.eosin, stain.BLOOD])
    want = np.array(look.white) * 10 ** (-1.1 * (np.array([0.4, 0.18, 0.1]) @ vectors))
    np.testing.assert_allclose(stain.developed(h, e, blood, look, 0.5)[12, 12], want, rtol=1e-4)


RINGS = SyntheticSlide(width_um=500, height_um=500, seed=4, malignant=0.5, signet=1.0)


def test_signet_ring_cells_have_the_size_of_such_and_are_none_by_default() -> None:
    drawn = RINGS.objects("signet_ring", RINGS.frame.box)
    size = np.array([np.ptp(o, axis=0) for o in drawn.outlines]) * RINGS.mpp
    assert len(drawn.ids) >= 10 and len(set(drawn.ids.tolist())) == len(drawn.ids)
    assert size.min() > 9 and size.max() < 31 and 14 < np.median(size.max(axis=1)) < 28
    assert len(SLIDE.objects("signet_ring", FULL).ids) == 0


def test_each_signet_ring_cell_has_one_crescent_nucleus_at_its_rim_and_a_pale_vacuole() -> None:
    cells = RINGS.objects("signet_ring", RINGS.frame.box)
    nuclei = RINGS.objects("nuclei", RINGS.frame.box)
    hearts = [Polygon(o).representative_point() for o in nuclei.outlines]
    grey = RINGS.render(RINGS.frame.box).mean(axis=2)
    pale = []
    for outline in cells.outlines:
        if outline.min() < 0 or outline.max() > RINGS.width_px:
            continue  # its nucleus may lie outside of the slide
        cell = Polygon(outline)
        held = [name for name, heart in zip(nuclei.classes, hearts, strict=True) if cell.contains(heart)]
        assert held == ["epithelial"]
        x, y = outline.mean(axis=0).astype(int)
        pale.append(grey[y, x])
    true = RINGS.truth("nuclei", RINGS.frame.box, 0.5).objects > 0
    assert np.median(pale) > grey[true].mean() + 50


def test_signet_ring_cells_keep_clear_of_glands_and_of_one_another() -> None:
    rings = [Polygon(o).buffer(0) for o in RINGS.objects("signet_ring", RINGS.frame.box).outlines]
    glands_ = [Polygon(o) for o in RINGS.objects("glands", RINGS.frame.box).outlines]
    assert not any(ring.intersects(gland) for ring in rings for gland in glands_)
    shared = sum(a.intersection(b).area for i, a in enumerate(rings) for b in rings[:i])
    assert shared < 0.02 * sum(ring.area for ring in rings)


def test_any_box_holds_the_same_signet_ring_cells() -> None:
    box = Box(RINGS.frame, 300, 200, 700, 800)
    whole_ = RINGS.truth("signet_ring", RINGS.frame.box, 0.5).objects
    assert np.array_equal(RINGS.truth("signet_ring", box, 0.5).objects, whole_[200:800, 300:700]) and whole_.any()
    assert np.array_equal(RINGS.render(box), RINGS.render(RINGS.frame.box)[200:800, 300:700])
