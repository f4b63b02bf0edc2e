"""Cerberus over a whole image in memory: as published (448 in, 144 kept), or in large windows of the same phase.

Windows start at output origin - 152, which is 8 modulo 16: the encoder's grid then lies the same way, so a large
window gives the published numbers as far as its margin reaches. The image is mirrored past its border.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geryon.errors import InputError, UsageError
from geryon.nets.topologies.cerberus import CELL_PX, DECODERS, TISSUE, Cerberus

OUT_PX, IN_PX = 144, 448
PAD_PX = (IN_PX - OUT_PX) // 2
PHASE_PX = PAD_PX % CELL_PX
MARGIN_PX = 88
"""Margin of a large window: at 88 the arg-max of 0.4 % of the pixels differs from an endless margin, at 152 of none."""
CORE_PX = 768
"""Core of a large window: about 1.2 times the network without margin; measured peak 1.4 GB (all heads, float32)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """What the network says about a whole image."""

    maps: Mapping[str, np.ndarray]
    """{"task/map": float32 [y, x, channel]}: probabilities at the image's own resolution."""
    tissue: np.ndarray | None
    """float32 [row, column, class]: published windows give one row and column a 144 px block; large windows one
    a 16 px cell, cell 0 starting `tissue_origin_px` from the image's corner."""
    tissue_origin_px: int
    tissue_cell_px: int

    def as_bytes(self) -> dict[str, np.ndarray]:
        """The maps as uint8 0..255."""
        return {name: np.round(value * 255.0).astype(np.uint8) for name, value in self.maps.items()}


def predict_published(module: Cerberus, image: np.ndarray) -> Maps:
    """The maps as the published tile mode gives them, each window once (there each is computed twice)."""
    check_image(image)
    names = _map_names(module)
    height, width = image.shape[:2]
    rows, columns = -(-height // OUT_PX), -(-width // OUT_PX)
    maps = {name: np.zeros((height, width, DECODERS[name][2]), np.float32) for name in names}
    blocks = np.zeros((rows, columns, 9), np.float32) if _has_tissue(module) else None
    with torch.inference_mode():
        for row, column in np.ndindex(rows, columns):
            top, left = row * OUT_PX, column * OUT_PX
            taps = module.taps(as_input(cut(image, (top - PAD_PX, left - PAD_PX, IN_PX, IN_PX))))
            for name in names:
                _place(maps[name], _probabilities(module.decode(name, taps, 0)), PAD_PX, (top, left))
            if blocks is not None:
                blocks[row, column] = module.patch_class(taps[4]).float().softmax(dim=1).flatten().numpy()
    return Maps(maps=maps, tissue=blocks, tissue_origin_px=0, tissue_cell_px=OUT_PX)


def predict_large(module: Cerberus, image: np.ndarray, margin: int = MARGIN_PX, core: int = CORE_PX) -> Maps:
    """The maps from windows with a large core on the published grid phase.

    `margin` is 8 more than a multiple of 16; `core` a multiple of 16. Decoders work on the core alone, so only the
    encoder pays for the margin. Tissue is told for every 16 px cell from the 9 x 9 cells around it, drawn
    where it was seen (published blocks lie 8 px off).
    """
    if margin % CELL_PX != PHASE_PX or core % CELL_PX or margin < 0 or core <= 0:
        raise UsageError(
            what=f"a window of core {core} and margin {margin} px is off the published grid",
            mend=f"take a core that is a multiple of {CELL_PX} and a margin {PHASE_PX} more than one, such as 88",
        )
    check_image(image)
    names = _map_names(module)
    height, width = image.shape[:2]
    maps = {name: np.zeros((height, width, DECODERS[name][2]), np.float32) for name in names}
    cells = _tissue_canvas(height, width) if _has_tissue(module) else None
    blank = margin // CELL_PX * CELL_PX
    with torch.inference_mode():
        for top, left, rows, columns in _cores(height, width, core):
            window = cut(image, (top - margin, left - margin, rows + 2 * margin, columns + 2 * margin))
            taps = module.taps(as_input(window))
            for name in names:
                found = _probabilities(module.decode(name, taps, blank))
                _place(maps[name], found, margin - blank, (top, left))
            if cells is not None:
                _place_cells(cells, module.tissue(taps[4]), (top, left, rows, columns), blank // CELL_PX)
    return Maps(maps=maps, tissue=cells, tissue_origin_px=-PHASE_PX, tissue_cell_px=CELL_PX)


def as_input(window: np.ndarray) -> Tensor:
    """uint8 [y, x, 3] as a batch of one, channels last."""
    return torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None]


def cut(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The part at top, left of that many rows and columns; mirrored about the border pixel outside the image."""
    top, left, rows, columns = box
    return image[mirror(np.arange(top, top + rows), image.shape[0])][
        :, mirror(np.arange(left, left + columns), image.shape[1])
    ]


def mirror(at: np.ndarray, size: int) -> np.ndarray:
    """Numbers outside 0..size - 1 reflected into it about its ends.

    >>> mirror(np.array([-2, -1, 0, 2, 3, 4]), 3).tolist()
    [2, 1, 0, 2, 1, 0]
    """
    if size == 1:
        return np.zeros_like(at)
    period = 2 * (size - 1)
    at = at % period
    return np.minimum(at, period - at)


def _cores(height: int, width: int, core: int) -> Iterator[tuple[int, int, int, int]]:
    """top, left, rows, columns of the cores; the last ones end at the first multiple of 16 past the image."""
    for top in range(0, height, core):
        for left in range(0, width, core):
            rows = min(core, -(-(height - top) // CELL_PX) * CELL_PX)
            columns = min(core, -(-(width - left) // CELL_PX) * CELL_PX)
            yield top, left, rows, columns


def _map_names(module: Cerberus) -> tuple[str, ...]:
    return tuple(head.name for head in module.heads if head.name != TISSUE)


def _has_tissue(module: Cerberus) -> bool:
    return any(head.name == TISSUE for head in module.heads)


def _probabilities(logits: Tensor) -> np.ndarray:
    found: np.ndarray = logits.float().softmax(dim=1)[0].permute(1, 2, 0).numpy()
    return found


def _place(canvas: np.ndarray, found: np.ndarray, skip: int, place: tuple[int, int]) -> None:
    """Copy what lies `skip` pixels inside `found` to top, left of the canvas, as far as that goes."""
    top, left = place
    kept = found[skip : found.shape[0] - skip, skip : found.shape[1] - skip]
    here = canvas[top : top + kept.shape[0], left : left + kept.shape[1]]
    here[:] = kept[: here.shape[0], : here.shape[1]]


def _tissue_canvas(height: int, width: int) -> np.ndarray:
    """Cells of 16 px start 8 px before the image."""
    return np.zeros((-(-(height + PHASE_PX) // CELL_PX), -(-(width + PHASE_PX) // CELL_PX), 9), np.float32)


def _place_cells(canvas: np.ndarray, logits: Tensor, core: tuple[int, int, int, int], skip: int) -> None:
    """Cells that begin in [core - 8, core end): those of neighbouring cores agree where both give one."""
    top, left, rows, columns = (n // CELL_PX for n in core)
    found = _probabilities(logits)[skip : skip + rows + 1, skip : skip + columns + 1]
    here = canvas[top : top + rows + 1, left : left + columns + 1]
    here[:] = found[: here.shape[0], : here.shape[1]]


def check_image(image: np.ndarray) -> None:
    """Raise for anything but an RGB uint8 image."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(
            what=f"is no RGB uint8 image but {image.dtype} {image.shape}", mend="give an array uint8 [y, x, 3]"
        )
