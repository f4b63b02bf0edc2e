"""Small slides written on the spot, and the folder of real ones where it is there."""

from __future__ import annotations

from pathlib import Path

import cv2
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
