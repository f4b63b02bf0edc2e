"""Encode: a block of a slide goes in; the codes of its cells come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from geryon.errors import InputError
from geryon.flows.cells import Block
from geryon.flows.compress_options import ORIENTATIONS, CompressOptions
from geryon.nets.encoder import Encoder
from geryon.slides.salvage import Salvaged
from geryon.space.arrays import Image
from geryon.space.turns import turned, turned_back

HALF_MOST = 65504.0
"""The largest number that a float16 holds."""
SLID_PX = 1024
"""Side of the windows over which an encoder slides: it holds about 60 bytes a pixel meanwhile, in each lane."""
GLASS = 245
"""Without a mask the published code takes a patch for glass when the mean of its pixels is at least this."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What became of a block's cells."""

    cells: np.ndarray
    """int64 [n, 2]: row and column of those that have a code."""
    codes: np.ndarray
    """float32 [turn, n, code]: one turn, or eight."""
    lost: np.ndarray
    """int64 [m, 2]: those that could not be read in full."""
    fault: InputError | None
    """Why, the first that was met."""


def encode(net: Encoder, block: Block, seen: Salvaged, options: CompressOptions) -> Encoded:
    """The codes of a block; InputError where the encoder gives what can't be kept."""
    side = net.patch_px
    is_lost = np.zeros(len(block.cells), bool)
    if seen.fault is not None:
        is_lost[:] = [seen.unreadable[y : y + side, x : x + side].any() for y, x in block.corners]
    cells, corners = block.cells[~is_lost], block.corners[~is_lost]
    halves = options.is_legacy and _sees_halves(net)
    if options.drops_glass:
        kept = np.array([_brightness(_cut(seen.image, c, side), halves) < GLASS for c in corners], bool)
        cells, corners = cells[kept], corners[kept]
    ways = ORIENTATIONS[options.turns]
    if not halves and _slides(net, block.stride_px):
        codes = _slid(net, seen.image, corners, block.stride_px, ways)
    else:
        patches = (_cut(seen.image, corner, side) for corner in corners)
        codes = _one_by_one(net, map(_legacy, patches) if halves else patches, ways)
    if options.turns == "mean":
        codes = codes.mean(axis=0, keepdims=True, dtype=np.float32)
    refuse_other_numbers(net.name, codes, options.dtype)
    return Encoded(cells, codes, block.cells[is_lost], seen.fault if is_lost.any() else None)


def _one_by_one(net: Encoder, patches: Iterable[Image], ways: int) -> np.ndarray:
    """float32 [turn, n, code]"""
    codes = [
        np.stack([net(np.stack([turned(p, k) for p in batch])) for k in range(ways)])
        for batch in _batches(patches, net.batch)
    ]
    return np.concatenate(codes, axis=1) if codes else np.zeros((ways, 0, net.code), np.float32)


def _slides(net: Encoder, stride_px: int) -> bool:
    """Whether overlapping patches may share what the encoder computes of them."""
    unit = net.dense_stride_px
    return unit is not None and stride_px < net.patch_px and stride_px % unit == 0


def _slid(net: Encoder, image: Image, corners: np.ndarray, stride_px: int, ways: int) -> np.ndarray:
    """The same codes from windows of several patches, but for patches that stand so alone that they are cheaper."""
    side = net.patch_px
    codes = np.zeros((ways, len(corners), net.code), np.float32)
    windows = corners // max(stride_px, SLID_PX // stride_px * stride_px)
    for window in np.unique(windows, axis=0):
        mine = np.flatnonzero((windows == window).all(axis=1))
        (top, left), (bottom, right) = corners[mine].min(axis=0), corners[mine].max(axis=0) + side
        part = image[top:bottom, left:right]
        if len(mine) * side**2 <= part.shape[0] * part.shape[1]:
            codes[:, mine] = _one_by_one(net, (_cut(image, corner, side) for corner in corners[mine]), ways)
            continue
        at = tuple(((corners[mine] - (top, left)) // stride_px).T)
        for k in range(ways):
            grid = net.dense(np.ascontiguousarray(turned(part, k)), stride_px)
            codes[k, mine] = turned_back(grid, k)[at]
    return codes


def _cut(image: Image, corner: np.ndarray, side: int) -> Image:
    y, x = corner
    return image[y : y + side, x : x + side]


def _batches(patches: Iterable[Image], size: int) -> Iterator[list[Image]]:
    held: list[Image] = []
    for patch in patches:
        held.append(patch)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held


def _sees_halves(net: Encoder) -> bool:
    """Whether the encoder begins with a mean of 2 x 2, which the published code took of slides in whole numbers."""
    layers = net.document.settings.get("layers") or ()
    return any(layer.get("kind") == "pool" and layer.get("size") == 2 for layer in layers[:1])


def _halved(patch: Image) -> Image:
    """Means of 2 x 2 pixels, cut off to whole numbers."""
    rows, columns = patch.shape[0] // 2, patch.shape[1] // 2
    sums = patch[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 3).sum(axis=(1, 3), dtype=np.uint16)
    return (sums // 4).astype(np.uint8)


def _legacy(patch: Image) -> Image:
    """The patch of which the encoder's mean of 2 x 2 makes what the published code showed it."""
    return _halved(patch).repeat(2, axis=0).repeat(2, axis=1)


def _brightness(patch: Image, halves: bool) -> float:
    return float((_halved(patch) if halves else patch).mean())


def refuse_other_numbers(encoder: str, codes: np.ndarray, dtype: str) -> None:
    """InputError where codes of that encoder can't be kept so."""
    if not np.isfinite(codes).all():
        raise InputError(what="gives codes that are no numbers", where=encoder, mend="choose another encoder")
    if dtype == "float16" and np.abs(codes).max(initial=0.0) > HALF_MOST:
        what = f"gives numbers above {HALF_MOST:g}, more than a float16 holds"
        raise InputError(what=what, where=encoder, mend="keep them with --dtype int8")
