"""Tiles of a TIFF that several windows show are decoded once, however many windows a row has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from geryon.slides import tiff

TILE, STEP, HALO = 64, 256, 24
HEIGHT, WIDTH = 1200, 3000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    path = tmp_path_factory.mktemp("slide") / "a.tiff"
    tifffile.imwrite(path, pixels, tile=(TILE, TILE), photometric="rgb")
    return path


@pytest.mark.parametrize("by_columns", [False, True])
def test_overlapping_windows_decode_each_tile_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, by_columns: bool
) -> None:
    """A row of windows shows seven rows of tiles; what of them fits is much less, but enough for those seen again."""
    lines = HEIGHT if by_columns else WIDTH
    monkeypatch.setattr(tiff, "KEEP_BYTES", 4 * -(-lines // TILE) * TILE * TILE * 3)
    decoded: list[int] = []
    decode = tiff.TiffReader._decode
    monkeypatch.setattr(tiff.TiffReader, "_decode", lambda self, page, i: decoded.append(i) or decode(self, page, i))
    reader = tiff.open_reader(path)
    whole = tifffile.imread(path)
    tops, lefts = range(0, HEIGHT, STEP), range(0, WIDTH, STEP)
    places = [(top, left) for left in lefts for top in tops] if by_columns else [(y, x) for y in tops for x in lefts]
    for top, left in places:
        x0, y0 = max(0, left - HALO), max(0, top - HALO)
        x1, y1 = min(WIDTH, left + STEP + HALO), min(HEIGHT, top + STEP + HALO)
        assert (reader.read(0, (x0, y0, x1, y1)) == whole[y0:y1, x0:x1]).all()
        assert reader._kept.nbytes <= tiff.KEEP_BYTES
    reader.close()
    assert sorted(decoded) == list(range(-(-WIDTH // TILE) * -(-HEIGHT // TILE)))
