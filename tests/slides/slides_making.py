"""Small slides written on the spot, and the folder of real ones where it is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

ROOT = Path(__file__).parents[2]


def data_folder(name: str) -> Path:
    """<repository>/../shared/data/name, or a skipped test."""
    folder = ROOT.parent / "shared" / "data" / name
    if not folder.is_dir():
        pytest.skip(f"no real data here ({folder})")
    return folder


def picture(width: int = 300, height: int = 200, seed: int = 0) -> np.ndarray:
    """A smooth, asymmetric RGB picture, so that lossy compression and flips both show."""
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 240, (height // 20 + 2, width // 20 + 2, 3), np.uint8)
    return np.ascontiguousarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def pyramid(image: np.ndarray, levels: int) -> list[np.ndarray]:
    found = [image]
    for _ in range(levels - 1):
        h, w = found[-1].shape[:2]
        found.append(cv2.resize(found[-1][: h // 2 * 2, : w // 2 * 2], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return found


def write_pyramid(
    path: Path, image: np.ndarray, *, levels: int = 3, ome: dict | None = None, **options: object
) -> Path:
    """A tiled pyramid: plain (levels are pages) or OME-TIFF (levels are SubIFDs)."""
    options = {"tile": (64, 64), "photometric": "rgb", **options}
    steps = pyramid(image, levels)
    with tifffile.TiffWriter(path, ome=ome is not None) as file:
        if ome is not None:
            file.write(steps[0], subifds=levels - 1, metadata={"axes": "YXS", **ome}, **options)
            for step in steps[1:]:
                file.write(step, subfiletype=1, metadata=None, **options)
        else:
            for i, step in enumerate(steps):
                file.write(step, subfiletype=int(i > 0), metadata=None, **options)
    return path


def write_aperio(
    path: Path,
    image: np.ndarray,
    *,
    encode: Callable[[np.ndarray], bytes] | None = None,
    compression: int = 7,
    photometric: int = 6,
    told: str = "AppMag = 20|MPP = 0.4990",
    leave_out: tuple[int, int] | None = None,
) -> Path:
    """Level, thumbnail, level, label and macro in the order of Aperio's files; `encode` makes tiles of 64 px.

    Label and macro are red, so that they show where they must not. `leave_out` is a page and a tile of it.
    """
    encode = encode or encode_jpeg
    told = f"Aperio Image Library v1\r\n{image.shape[1]}x{image.shape[0]} (64x64)|{told}"
    red = np.full((40, 50, 3), (255, 0, 0), np.uint8)
    plain = {"metadata": None, "photometric": "rgb", "rowsperstrip": 16}
    fine, coarse = pyramid(image, 2)
    with tifffile.TiffWriter(path) as file:
        for level in (fine, coarse):
            file.write(
                iter([encode(tile) for tile in tiles_of(level)]),
                shape=level.shape, dtype=np.uint8, tile=(64, 64), photometric="rgb",
                compression="jpeg2000" if compression != 7 else "jpeg", description=told, metadata=None,
            )  # fmt: skip
            if level is fine:
                file.write(red[::2, ::2].copy(), description=told, **plain)
        file.write(red, description="Aperio Image Library v1\r\nlabel 50x40", subfiletype=1, **plain)
        file.write(red, description="Aperio Image Library v1\r\nmacro 50x40", subfiletype=9, **plain)
    for page in (0, 2):
        put_tag(path, page, 259, compression)
        put_tag(path, page, 262, photometric)
    if leave_out is not None:
        page, tile = leave_out
        put_tag(path, page, 325, 0, place=tile)
    return path


def encode_jpeg(tile: np.ndarray, *, space: str = "ycbcr", level: int = 95) -> bytes:
    """A JPEG of RGB pixels without any mark of its colour space, as scanners write them."""
    options = {"level": level, "colorspace": "rgb", "outcolorspace": space, "subsampling": "444"}
    coded = imagecodecs.jpeg_encode(tile, **options)
    while coded[2:4] in (b"\xff\xe0", b"\xff\xee"):  # JFIF's mark, Adobe's mark
        coded = coded[:2] + coded[4 + int.from_bytes(coded[4:6], "big") :]
    return coded


def tiles_of(image: np.ndarray, side: int = 64) -> list[np.ndarray]:
    """Squares row by row, the last ones filled up with what is on the edge."""
    height, width = image.shape[:2]
    full = np.pad(image, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    places = [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
    return [np.ascontiguousarray(full[y : y + side, x : x + side]) for y, x in places]


def put_tag(path: Path, page: int, tag: int, value: int, *, place: int = 0) -> None:
    """Write another number over that of a tag."""
    with tifffile.TiffFile(path) as file:
        found = file.pages[page].tags[tag]
        size = {3: 2, 4: 4, 16: 8}[found.dtype]
        at = found.valueoffset + place * size
    with path.open("r+b") as file:
        file.seek(at)
        file.write(value.to_bytes(size, "little"))


UM = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}


def write_zarr(path: Path, image: np.ndarray, *, version: str = "0.5", axes: str = "cyx", levels: int = 3) -> Path:
    """An OME-Zarr folder in the layout of NGFF 0.4 (Zarr v2) or 0.5 (Zarr v3)."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    order = ["yxc".index(a) for a in axes if a in "yxc"]
    sets = []
    for i, step in enumerate(pyramid(image, levels)):
        block = step.transpose(order)
        for place, axis in enumerate(axes):
            if axis in "tz":
                block = np.expand_dims(block, place)
        array = group.create_array(
            str(i), shape=block.shape, chunks=tuple(min(64, n) for n in block.shape), dtype="uint8"
        )
        array[...] = block
        scale = [0.5 * 2**i if a in "yx" else 1.0 for a in axes]
        sets.append({"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": kinds.get(a, "space"), **({"unit": "micrometer"} if a in "yx" else {})} for a in axes]
    facts = {"multiscales": [{"axes": named, "datasets": sets, "version": version}]}
    group.attrs.update(facts if version == "0.4" else {"ome": {"version": version, **facts}})
    return path
