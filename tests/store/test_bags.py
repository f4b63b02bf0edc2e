"""Layouts of other programs: the same rows in the same order, places in the unit that each counts in."""

from __future__ import annotations

import builtins
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geryon.errors import InputError, MachineError, MissingPartError, UsageError
from geryon.space.centres import distance_map
from geryon.space.turns import TURNS
from geryon.store.bags import BAGS, reading
from geryon.store.bags.layout import get_layout
from geryon.store.bags.reading import read_bag
from geryon.store.features import NAME, About, Piece, Volume, write_volume

CODE = 5
ABOUT = About(
    slide="a slide",
    width_level0=4000,
    height_level0=3000,
    mpp_level0=(0.25, 0.25),
    mpp=0.5,
    patch_um=64.0,
    stride_um=48.0,
    encoder="multitask-4",
    encoder_sha256="ab" * 32,
    version="1",
)


def volume(folder: Path, about: About = ABOUT, share: float = 0.5) -> Volume:
    rng = np.random.default_rng(1)
    shape = (about.grid.rows, about.grid.columns)
    codes = rng.normal(size=(TURNS, *shape, CODE)).astype(np.float16).astype(np.float32)
    piece = Piece(
        features=codes[0], tissue=rng.random(shape) < share, turned=codes[1:] if about.turns == "eight" else None
    )
    return write_volume(folder / NAME, about, [piece], code=CODE)


def test_h5_is_what_readers_of_bags_ask_for(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    made = volume(tmp_path)
    [path] = get_layout("h5").write(made, tmp_path / "h5")
    assert path.name == "a slide.h5"
    codes, cells = made.bag()
    with h5py.File(path) as file:
        assert np.array_equal(file["features"], codes) and file["features"].dtype == np.float32
        assert np.array_equal(file["coords"], cells[:, ::-1] * 192) and file["coords"].dtype == np.int64
        assert dict(file["coords"].attrs) == {
            "name": "a slide",
            "patch_size": 128,
            "patch_size_level0": 256,
            "overlap": 32,
            "level0_magnification": 40.0,
            "target_magnification": 20.0,
            "level0_width": 4000,
            "level0_height": 3000,
        }
        told = dict(file.attrs)
    assert told.pop("mpp_level0").tolist() == [0.25, 0.25]
    assert told == {
        "mpp": 0.5,
        "patch_um": 64.0,
        "stride_um": 48.0,
        "encoder": "multitask-4",
        "encoder_sha256": "ab" * 32,
        "version": "1",
    }
    bag = read_bag(path)
    assert (bag.unit, bag.patch, bag.encoder) == ("level0", 256.0, "multitask-4")


def codes_of(bag):
    return np.concatenate([codes for codes, _ in bag.strips()])


def test_stamp_counts_in_micrometres(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    made = volume(tmp_path)
    [path] = get_layout("stamp").write(made, tmp_path / "stamp")
    codes, cells = made.bag()
    with h5py.File(path) as file:
        assert np.array_equal(file["feats"], codes)
        assert np.array_equal(file["coords"], cells[:, ::-1] * 48.0)
        assert file["coords"].dtype == np.float32, "as STAMP writes them"
        assert dict(file.attrs) == {
            "stamp_version": "2.1.0",  # the first of this layout: a STAMP refuses what is newer than itself
            "extractor": "multitask-4",
            "unit": "um",
            "tile_size_um": 64.0,
            "tile_size_px": 128,
            "feat_type": "tile",
            "encoder_sha256": "ab" * 32,
            "version": "1",
        }
    bag = read_bag(path)
    assert (bag.unit, bag.patch, bag.slide) == ("um", 64.0, "a slide") and np.array_equal(codes_of(bag), codes)


def test_pt_is_a_tensor_that_loads_without_a_pickle_of_objects(tmp_path: Path) -> None:
    import torch

    made = volume(tmp_path)
    [path] = get_layout("pt").write(made, tmp_path / "pt")
    loaded = torch.load(path, weights_only=True)
    assert loaded.dtype == torch.float32 and np.array_equal(loaded.numpy(), made.bag()[0])


@pytest.mark.parametrize("is_legacy", [False, True])
def test_nic_has_channels_first_and_the_cells_by_index(tmp_path: Path, is_legacy: bool) -> None:
    made = volume(tmp_path, replace(ABOUT, turns="eight", is_legacy=is_legacy))
    rows, columns = (15, 20) if is_legacy else (16, 21)
    files = {p.name.removeprefix("a slide_"): np.load(p) for p in get_layout("nic").write(made, tmp_path / "nic")}
    tissue = made.tissue[:rows, :columns]
    assert np.array_equal(np.stack([files["y_idx.npy"], files["x_idx.npy"]], 1), np.argwhere(tissue))
    assert files["im_shape.npy"].tolist() == [columns, rows]
    for k in range(TURNS):
        name = f"{k % 4 * 90}_{'horizontal' if k >= 4 else 'none'}_features.npy"
        want = np.moveaxis(made.crop(0, 0, rows, columns, k), 2, 0)
        assert files[name].dtype == np.float16 and np.array_equal(files[name], want)
    assert np.array_equal(files["features.npy"], files["0_none_features.npy"])
    assert files["features_distance_map.npy"].sum() == pytest.approx(1)
    assert len(files) == 13


def test_the_distance_map_counts_beyond_the_slide_as_background() -> None:
    whole = distance_map(np.ones((9, 15), bool))
    assert whole.sum() == pytest.approx(1) and whole.argmax() in range(4 * 15 + 4, 4 * 15 + 11)
    assert np.array_equal(whole, whole[::-1, ::-1])
    assert np.array_equal(distance_map(np.ones((9, 15), bool), is_legacy=True), whole)
    half = np.arange(6)[None].repeat(4, axis=0) > 2
    assert distance_map(half, is_legacy=True)[0].argmax() == 5 and distance_map(half)[0].argmax() != 5
    assert not distance_map(np.zeros((4, 4), bool)).any()


@pytest.mark.parametrize("layout", sorted(BAGS))
def test_a_slide_without_tissue_gives_files_without_rows(tmp_path: Path, layout: str) -> None:
    if layout in ("h5", "stamp"):
        pytest.importorskip("h5py")
    made = volume(tmp_path, share=0.0)
    files = get_layout(layout).write(made, tmp_path / layout)
    assert all(p.is_file() for p in files)
    if layout in ("h5", "stamp"):
        bag = read_bag(files[0])
        assert codes_of(bag).shape == (0, CODE) and bag.corners is not None and bag.corners.shape == (0, 2)
    if layout == "nic":
        arrays = {p.name.removeprefix("a slide_"): np.load(p) for p in files}
        assert not arrays["features.npy"].any() and not arrays["features_distance_map.npy"].any()
        assert arrays["x_idx.npy"].shape == (0,)


@pytest.mark.parametrize("layout", sorted(BAGS))
def test_the_same_bytes_each_time(tmp_path: Path, layout: str) -> None:
    if layout in ("h5", "stamp"):
        pytest.importorskip("h5py")
    made = volume(tmp_path)
    first, again = ([p.read_bytes() for p in get_layout(layout).write(made, tmp_path / n)] for n in ("a", "b"))
    assert first == again and not list((tmp_path / "a").glob(".*"))


@pytest.mark.parametrize("layout", sorted(BAGS))
@pytest.mark.parametrize("share", [0, 0.2, 0.99])
def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path, layout: str, share: float) -> None:
    """HDF5 and maps of files ended the process by a signal, torch spoke of its zip."""
    resource = pytest.importorskip("resource")
    if layout in ("h5", "stamp"):
        pytest.importorskip("h5py")
    made, write = volume(tmp_path), get_layout(layout).write
    whole = {path.name: path.read_bytes() for path in write(made, tmp_path / "whole")}
    room = int(share * max(map(len, whole.values())))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(MachineError, match="writing failed"):
            write(made, tmp_path / layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for path in (tmp_path / layout).iterdir():
        assert path.read_bytes() == whole[path.name], "what was finished is whole"


def test_a_bag_is_read_in_pieces_like_a_volume_of_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("h5py")
    monkeypatch.setattr(reading, "STRIP_CELLS", 100)
    made = volume(tmp_path)
    [path] = get_layout("h5").write(made, tmp_path / "h5")
    bag, (codes, cells) = read_bag(path), made.bag()
    assert bag.corners is not None and np.array_equal(bag.corners, cells[:, ::-1] * 192.0)
    assert (bag.encoder_sha256, bag.mpp, bag.patch_um, bag.stride_um) == ("ab" * 32, 0.5, 64.0, 48.0)
    pieces = [piece for piece, _ in bag.strips()]
    assert max(map(len, pieces)) == 100 and np.array_equal(np.concatenate(pieces), codes)
    crop = bag.crop(-1, len(codes) - 2, 3, 4)
    assert np.array_equal(crop[1, :2], codes[-2:]) and not crop[[0, 2]].any() and not crop[1, 2:].any()
    assert bag.crop_tissue(-1, len(codes) - 2, 3, 4).tolist() == [[False] * 4, [True, True, False, False], [False] * 4]


def test_files_of_others(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    codes, places = np.ones((4, 7), np.float32), np.arange(8, dtype=np.int32).reshape(4, 2)
    with h5py.File(tmp_path / "clam.h5", "w") as file:
        file["features"], file["coords"] = codes, places
    bag = read_bag(tmp_path / "clam.h5")
    assert (bag.unit, bag.patch, bag.encoder) == ("level0", None, "") and np.array_equal(bag.corners, places)
    with h5py.File(tmp_path / "trident.h5", "w") as file:
        file["features"], file["coords"] = codes.astype(np.float16), places.astype(np.int64)
        file["coords"].attrs.update({"patch_size": 512, "patch_size_level0": 1024, "overlap": 0})
    bag = read_bag(tmp_path / "trident.h5")
    assert bag.patch == 1024.0 and codes_of(bag).dtype == np.float32
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["feats"], file["coords"] = codes, places
        file.attrs["extractor"] = "ctranspath"
    bag = read_bag(tmp_path / "old.h5")
    assert (bag.unit, bag.patch, bag.encoder) == ("", None, "ctranspath")
    with h5py.File(tmp_path / "2.0.h5", "w") as file:
        file["feats"], file["coords"] = codes.astype(np.float16), places.astype(np.float32)
        file.attrs.update({"stamp_version": "2.0.0", "extractor": "uni", "unit": "um", "tile_size": 256.0})
    bag = read_bag(tmp_path / "2.0.h5")
    assert (bag.unit, bag.patch, bag.patch_um, bag.mpp) == ("um", 256.0, 256.0, 0.0)


def test_what_is_no_bag_is_told(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "patches.h5", "w") as file:
        file["coords"] = np.zeros((4, 2))
    with pytest.raises(InputError, match=r"holds coords, and neither features nor feats; .*not that of patches"):
        read_bag(tmp_path / "patches.h5")
    with h5py.File(tmp_path / "slide.h5", "w") as file:
        file["features"] = np.zeros(768)
    with pytest.raises(InputError, match=r"the shape \[768\], .* not that of a slide"):
        read_bag(tmp_path / "slide.h5")
    with h5py.File(tmp_path / "torn.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((4, 7)), np.zeros((3, 2))
    with pytest.raises(InputError, match=r"coords has the shape \[3, 2\] for 4 codes"):
        read_bag(tmp_path / "torn.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(InputError, match="can't be read as HDF5"):
        read_bag(tmp_path / "text.h5")
    with pytest.raises(InputError, match="can't be read as HDF5"):
        read_bag(tmp_path / "absent.h5")


def test_without_h5py_the_one_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: object, **named: object) -> object:
        if name.partition(".")[0] == "h5py":
            raise ImportError(name)
        return real(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr(builtins, "__import__", absent)
    for layout in ("h5", "stamp"):
        with pytest.raises(MissingPartError, match=r"pip install 'geryon\[encoders\]'"):
            get_layout(layout)
    get_layout("nic")


def test_an_unknown_layout_is_told() -> None:
    with pytest.raises(UsageError, match="choose one of: h5, nic, pt, stamp"):
        get_layout("csv")
