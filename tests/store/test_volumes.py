"""features.zarr: any crop is the slice of the whole, nothing half written looks whole."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.errors import InputError, MachineError
from geryon.space.turns import TURNS, turned
from geryon.store.features import KEY, NAME, About, Piece, open_volume, quantise, write_volume

CODE = 3
ABOUT = About(
    slide="a",
    width_level0=1500,
    height_level0=1200,
    mpp_level0=(0.5, 0.5),
    mpp=0.5,
    patch_um=64.0,
    stride_um=8.0,
    encoder="mean-rgb",
    encoder_sha256="0" * 64,
    version="1",
    precision="int8",
    turns="eight",
    warnings=("a warning",),
)


def arrays(seed=0):
    """Codes [8, row, column, code] of a grid larger than a chunk, and where they stand."""
    rng = np.random.default_rng(seed)
    grid = ABOUT.grid
    tissue = rng.random((grid.rows, grid.columns)) < 0.6
    codes = rng.normal(size=(TURNS, grid.rows, grid.columns, CODE)).astype(np.float16).astype(np.float32)
    return codes * tissue[..., None], tissue


def pieces(codes, tissue, rows):
    for top in range(0, tissue.shape[0], rows):
        part = slice(top, top + rows)
        yield Piece(features=codes[0, part], tissue=tissue[part], turned=codes[1:, part], top=top)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    codes, tissue = arrays()
    path = tmp_path_factory.mktemp("volume") / NAME
    return write_volume(path, ABOUT, pieces(codes, tissue, 7), code=CODE), codes, tissue


def test_what_is_written_comes_back(written):
    volume, codes, tissue = written
    assert volume.about == ABOUT
    assert (volume.rows, volume.columns, volume.code, volume.dtype) == (75, 94, CODE, "float16")
    assert np.array_equal(volume.tissue, tissue) and np.array_equal(volume.edge, ABOUT.grid.edge())
    for turn in (0, 3):
        bag, cells = volume.bag(turn)
        assert np.array_equal(bag, codes[turn][tissue]) and np.array_equal(cells, np.argwhere(tissue))
        assert bag.dtype == np.float32 and cells.dtype == np.int64
    assert open_volume(volume.path.parent).about == ABOUT


def test_a_volume_of_before_the_precision_was_kept_is_read(written, tmp_path):
    path = shutil.copytree(written[0].path, tmp_path / NAME)
    group = zarr.open_group(path, mode="r+", zarr_format=3)
    group.attrs[KEY] = {k: v for k, v in group.attrs[KEY].items() if k != "precision"}
    assert open_volume(path).about == replace(ABOUT, precision="")


@settings(max_examples=40, deadline=None)
@given(st.integers(-20, 90), st.integers(-20, 110), st.integers(1, 90), st.integers(1, 40), st.integers(0, 7))
def test_any_crop_is_the_slice_of_the_whole(written, top, left, rows, columns, turn):
    volume, codes, tissue = written
    around = ((200, 200), (200, 200))
    at = np.s_[top + 200 : top + 200 + rows, left + 200 : left + 200 + columns]
    whole = np.pad(codes[turn], (*around, (0, 0)))[at]
    crop = volume.crop(top, left, rows, columns, turn)
    assert crop.dtype == np.float32 and np.array_equal(crop, turned(whole, turn))
    assert np.array_equal(volume.crop_tissue(top, left, rows, columns, turn), turned(np.pad(tissue, around)[at], turn))


def test_without_eight_orientations_a_turn_moves_cells_alone(tmp_path):
    codes, tissue = arrays()
    volume = write_volume(
        tmp_path / NAME, replace(ABOUT, turns="mean"), [Piece(features=codes[0], tissue=tissue)], code=CODE
    )
    assert np.array_equal(volume.crop(0, 0, 75, 94, turn=5), turned(codes[0], 5))


def test_the_bytes_do_not_depend_on_how_rows_came(tmp_path):
    codes, tissue = arrays()
    for rows in (40, 64, 75):
        write_volume(tmp_path / str(rows) / NAME, ABOUT, pieces(codes, tissue, rows), code=CODE)
    first, *others = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in tmp_path.iterdir()
    )
    assert len(first) > 6 and all(other == first for other in others)


def test_eight_bits_keep_each_code_within_half_a_step(tmp_path):
    codes, tissue = arrays()
    codes[:, 5] *= 1000
    volume = write_volume(tmp_path / NAME, ABOUT, pieces(codes, tissue, 10), code=CODE, dtype="int8")
    assert volume.dtype == "int8"
    for turn in (0, 7):
        bag, _ = volume.bag(turn)
        true = codes[turn][tissue]
        step = np.abs(true).max(axis=1, keepdims=True) / 127
        assert np.all(np.abs(bag - true) <= 0.501 * step)
    steps, scale = quantise(np.zeros((2, CODE), np.float32))
    assert not steps.any() and not scale.any()


def test_a_slide_without_tissue_is_a_volume_without_cells(tmp_path):
    volume = write_volume(tmp_path / NAME, ABOUT, [], code=CODE)
    bag, cells = volume.bag()
    assert bag.shape == (0, CODE) and cells.shape == (0, 2) and not volume.crop(0, 0, 9, 9).any()


def test_nothing_half_written_is_there_or_looks_whole(tmp_path):
    codes, tissue = arrays()

    def cut_short():
        yield from list(pieces(codes, tissue, 10))[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_volume(tmp_path / NAME, ABOUT, cut_short(), code=CODE)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no such volume"):
        open_volume(tmp_path)
    with pytest.raises(ValueError, match="reach past"):
        write_volume(tmp_path / NAME, ABOUT, [Piece(features=codes[0], tissue=tissue, top=1)], code=CODE)
    assert list(tmp_path.iterdir()) == []


def test_a_volume_is_never_replaced(tmp_path):
    codes, tissue = arrays()
    write_volume(tmp_path / NAME, ABOUT, pieces(codes, tissue, 10), code=CODE)
    with pytest.raises(FileExistsError):
        write_volume(tmp_path / NAME, ABOUT, pieces(codes * 2, tissue, 10), code=CODE)
    assert np.array_equal(open_volume(tmp_path).bag()[0], codes[0][tissue])


def test_a_full_disk_is_an_error_of_the_machine(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("geryon.atomic._sync", full)
    codes, tissue = arrays()
    with pytest.raises(MachineError, match="free some space"):
        write_volume(tmp_path / NAME, ABOUT, pieces(codes, tissue, 10), code=CODE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", ["features/zarr.json", "tissue", "zarr.json"])
def test_a_volume_that_lacks_a_part_is_told(written, tmp_path, lost):
    copy = tmp_path / NAME
    shutil.copytree(written[0].path, copy)
    gone = copy / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(InputError, match="run geryon compress again"):
        open_volume(copy)


def test_a_zarr_of_somebody_else_is_told(tmp_path):
    import zarr

    zarr.open_group(tmp_path / "x.zarr", mode="w")
    with pytest.raises(InputError, match="description is missing"):
        open_volume(tmp_path / "x.zarr")
