"""A slide: any box at any resolution, by place only."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slides_making import UM, picture, write_pyramid, write_zarr

from geryon import plugins
from geryon.slides import reader as reader_module
from geryon.slides.array import ArrayReader, slide_of_image
from geryon.slides.formats import stem
from geryon.slides.reader import READERS, Slide, levels_of, open_slide, slide_of
from geryon.space.boxes import Box


class TwoPitches(ArrayReader):
    """Pixels of 0.5 x 0.25 µm."""

    mpp = (0.5, 0.25)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    path = tmp_path_factory.mktemp("s") / "case 1.ome.tif"
    write_pyramid(path, picture(301, 203), ome=UM, compression="deflate")
    return open_slide(path)


def test_every_reader_of_the_table_loads() -> None:
    assert all(callable(plugins.load(path)) for path in READERS.values())


def test_facts(slide: Slide) -> None:
    assert (slide.name, slide.reader, slide.size, slide.mpp) == ("case 1", "tiff", (301, 203), (0.5, 0.5))
    assert (slide.mpp_source, slide.warnings, slide.frame.name) == ("scanner", (), "level0")
    assert [level.downsample_x for level in slide.levels] == [1, 2, 4]


def test_level0_is_the_file(slide: Slide) -> None:
    np.testing.assert_array_equal(slide.read(slide.frame.box, 0.5), picture(301, 203))


def test_outside_is_white(slide: Slide) -> None:
    got = slide.read(Box(slide.frame, -10, -20, 311, 223), 0.5)
    assert got.shape == (243, 321, 3)
    np.testing.assert_array_equal(got[20:223, 10:311], picture(301, 203))
    assert (got[:20] == 255).all() and (got[:, :10] == 255).all() and (got[223:] == 255).all()
    assert (slide.read(Box(slide.frame, 900, 900, 940, 950), 1.0) == 255).all()
    assert slide.read(Box(slide.frame, 5, 5, 5, 50), 0.5).shape == (45, 0, 3)


@settings(max_examples=40, deadline=None)
@given(k=st.integers(1, 6), x=st.integers(-3, 20), y=st.integers(-3, 20), w=st.integers(1, 12), h=st.integers(1, 12))
def test_a_box_is_the_crop_of_the_whole_at_whole_factors(slide: Slide, k: int, x: int, y: int, w: int, h: int) -> None:
    frame = slide.frame.at(0.5 * k)
    whole = slide.read(Box(frame, -4, -4, 40, 40), 0.5 * k)
    np.testing.assert_array_equal(slide.read(Box(frame, x, y, x + w, y + h), 0.5 * k), whole[y + 4 :, x + 4 :][:h, :w])


@pytest.mark.parametrize("mpp", [0.2, 0.47, 0.73, 1.3, 3.1])
def test_other_factors_depend_on_the_place_only(slide: Slide, mpp: float) -> None:
    frame = slide.frame.at(mpp)
    whole = slide.read(Box(frame, 0, 0, 40, 30), mpp)
    assert whole.shape == (30, 40, 3)
    np.testing.assert_array_equal(slide.read(Box(frame, 11, 7, 31, 23), mpp), whole[7:23, 11:31])


def test_area_average_is_exact() -> None:
    image = picture(96, 60)
    slide = slide_of_image(image, mpp=0.5)
    got = slide.read(slide.frame.box, 1.5).astype(float)
    assert np.abs(got - image.reshape(20, 3, 32, 3, 3).mean(axis=(1, 3))).max() <= 0.5
    half = slide.read(Box(slide.frame, 1.5, 0.5, 31.5, 30.5), 0.5)  # between pixels: the mean of the four around
    four = (image[:30, 1:31].astype(float) + image[1:31, 1:31] + image[:30, 2:32] + image[1:31, 2:32]) / 4
    assert half.shape == (30, 30, 3) and np.abs(half - four).max() <= 0.5


def test_mean_of_a_ramp_keeps_its_place() -> None:
    """A linear ramp stays where it is at any resolution: no half-pixel shift, finer or coarser."""
    ramp = np.repeat(np.tile(np.arange(240, dtype=np.uint8), (64, 1))[..., None], 3, axis=2)
    slide = slide_of_image(ramp, mpp=1.0)
    for mpp in (0.4, 1.0, 1.7, 2.0, 5.3):
        got = slide.read(Box(slide.frame, 10, 10, 210, 50), mpp)[4, :, 0].astype(float)
        centres = 10 + mpp * (np.arange(got.size) + 0.5) - 0.5
        assert np.abs(got - centres).max() <= 0.51, mpp


def test_unequal_pitches() -> None:
    image = picture(100, 200)
    slide = slide_of(TwoPitches(image), name="a", path=None, mpp=None, reader="image")
    assert slide.mpp == (0.5, 0.25) and slide.grid_mpp(0.5) == 0.5
    got = slide.read(slide.frame.box, 0.5)
    assert got.shape == (100, 100, 3)
    assert np.abs(got - image.reshape(100, 2, 100, 3).mean(axis=1)).max() <= 0.5


def test_grid_mpp(slide: Slide) -> None:
    assert [slide.grid_mpp(m) for m in (0.5, 0.52, 1.02, 1.96, 4.1)] == [0.5, 0.5, 1.0, 2.0, 4.0]
    assert slide.grid_mpp(0.3) == 0.3 and slide.grid_mpp(0.7) == 0.7
    odd = slide_of_image(picture(), mpp=0.2277)
    assert odd.grid_mpp(0.5) == pytest.approx(0.4554) and odd.grid_mpp(0.25) == 0.2277


def test_large_reads_go_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    slide = slide_of_image(picture(), mpp=0.5)
    asked: list[int] = []
    read = ArrayReader.read

    def counted(self: ArrayReader, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        asked.append((box[2] - box[0]) * (box[3] - box[1]))
        return read(self, level, box)

    want = {mpp: slide.read(slide.frame.box, mpp) for mpp in (1.0, 3.7)}
    monkeypatch.setattr(ArrayReader, "read", counted)
    monkeypatch.setattr(reader_module, "SOURCE_PX_AT_ONCE", 5000)
    for mpp, whole in want.items():
        np.testing.assert_array_equal(slide.read(slide.frame.box, mpp), whole)
    assert max(asked) <= 5000 and len(asked) > 20


def test_levels_that_scanners_cut_off() -> None:
    assert [at.downsample_x for at in levels_of([(4443, 3567), (2221, 1783), (1110, 891)])] == [1, 2, 4]
    uneven = levels_of([(1000, 1000), (400, 400)])[1]
    assert (uneven.downsample_x, uneven.downsample_y) == (2.5, 2.5)


def test_the_best_level_is_read(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    inner = slide._reader
    read = inner.read
    monkeypatch.setattr(inner, "read", lambda level, box: (used.append(level), read(level, box))[1])
    for mpp in (0.3, 0.5, 0.9, 0.995, 1.0, 1.99, 7.0):
        slide.read(Box(slide.frame, 0, 0, 40, 40), mpp)
    assert used == [0, 0, 0, 1, 1, 2, 2]


def test_pickles_by_path_and_works_in_threads(slide: Slide) -> None:
    whole = slide.read(slide.frame.box, 1.0)
    with pickle.loads(pickle.dumps(slide)) as again:
        np.testing.assert_array_equal(again.read(again.frame.box, 1.0), whole)
    boxes = [Box(slide.frame.at(1.0), x, y, x + 16, y + 16) for x in range(0, 128, 16) for y in range(0, 96, 16)]
    with ThreadPoolExecutor(4) as pool:
        for box, got in zip(boxes, pool.map(lambda b: slide.read(b, 1.0), boxes), strict=True):
            np.testing.assert_array_equal(got, whole[int(box.ymin) :, int(box.xmin) :][:16, :16])
    with pytest.raises(TypeError, match="no file"):
        pickle.dumps(slide_of_image(picture(), mpp=0.5))


def test_given_mpp_survives_pickling(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr", picture())
    with open_slide(path, mpp=0.25) as slide, pickle.loads(pickle.dumps(slide)) as again:
        assert again.mpp == (0.25, 0.25) and again.mpp_source == "given" and len(again.warnings) == 1


def test_names_are_safe_for_folders() -> None:
    names = ["a.svs", "x/ä b.ome.tiff", "a.ome.zarr", "a:b*c?.tif", "....svs", "a.b.svs"]
    assert [stem(Path(n)) for n in names] == ["a", "ä b", "a", "a_b_c_", "slide", "a.b"]
