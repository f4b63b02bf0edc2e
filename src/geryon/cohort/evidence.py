"""Where in a volume a model of slides found its answer: one number a cell, by Grad-CAM, attention or occlusion.

All three take the networks that may be asked about a slide and give their mean map, float32 [row, column] on the
volume's own cells, NaN where there is no tissue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from geryon.cohort.crops import Corner, Seen, all_turns, crop
from geryon.cohort.views import CELLS_AT_ONCE, batch
from geryon.cohort.volumes import Cells
from geryon.space.arrays import Mask
from geryon.space.turns import TURNS, turned_back

BLOCK = 4
"""Cells along a side of what occlusion takes away at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asking:
    """What is asked of the networks, and how."""

    weights: Tensor
    """float32 [outputs]: the number to explain is the weighted sum of the logits."""
    side: int = 400
    """Of the crops that a CNN sees, in cells."""
    has_turns: bool = False
    """Whether the volume's codes of turned patches are used."""
    measures: Tensor = field(default_factory=lambda: torch.zeros(1, 0))
    """float32 [1, measure] of the slide's objects, where the networks take them."""
    block: int = BLOCK
    device: str = "cpu"

    def of(self, logits: Tensor) -> Tensor:
        """[n]: what is explained."""
        return logits @ self.weights.to(logits.device)


Method = Callable[[nn.Module, Cells, Asking], np.ndarray]


def grad_cam(network: nn.Module, cells: Cells, asking: Asking) -> np.ndarray:
    """Grad-CAM (Selvaraju et al., ICCV 2017) on the first convolution, as Tellez et al. use it (arXiv 1811.02840).

    Gradients of the output by the convolution's maps, averaged over space, weigh the maps; their weighted sum is the
    evidence. There is no ReLU at the end: the paper prints none, and what speaks against the answer is negative. One
    place of the map stands for two by two cells. Crops that cover the slide, each in eight turns, are averaged.
    """
    total, times = np.zeros(cells.tissue.shape), np.zeros(cells.tissue.shape)
    for corner in covering_corners(cells.tissue, asking.side):
        for turn, seen in enumerate(all_turns(cells, corner, asking.side, asking.has_turns)):
            coarse = _first_maps(network, seen, asking)
            fine = coarse.repeat(2, axis=0).repeat(2, axis=1)[: asking.side, : asking.side]
            _add(total, times, turned_back(fine, turn), corner)
    return _mean_of_tissue(total, times, cells.tissue)


def attention(network: nn.Module, cells: Cells, asking: Asking) -> np.ndarray:
    """The attention of each cell times the number of cells: 1 is an even share. Read strip by strip.

    It says where a model looks, not which way that speaks.
    """
    found = np.zeros(cells.tissue.shape)
    turns = range(TURNS if asking.has_turns else 1)
    for turn in turns:
        shares: list[tuple[np.ndarray, np.ndarray, float]] = []
        with torch.no_grad():
            for codes, places in cells.strips(turn):
                if len(codes):
                    x, mask = batch([(codes[None], np.ones((1, len(codes)), bool))], asking.device)
                    part = network.take(None, x, mask)  # type: ignore[operator]
                    within = network.attention(x, mask)[0, 0].double().cpu().numpy()  # type: ignore[operator]
                    shares.append((places, within, float(part.top) + math.log(float(part.weight))))
        whole = np.logaddexp.reduce([share for _, _, share in shares])
        for places, within, share in shares:
            found[places[:, 0], places[:, 1]] += within * math.exp(share - whole) * cells.tissue.sum() / len(turns)
    return np.where(cells.tissue, found, np.nan).astype(np.float32)


def occlusion(network: nn.Module, cells: Cells, asking: Asking) -> np.ndarray:
    """How far the output falls when a block of cells is made background (Zeiler and Fergus, ECCV 2014).

    A CNN is asked once for every block of every crop that covers the slide: much slower than Grad-CAM. From a bag the
    block's own share is taken away, so the slide is read twice, whatever the number of blocks.
    """
    if hasattr(network, "take"):
        return _occluded_bag(network, cells, asking)
    total, times = np.zeros(cells.tissue.shape), np.zeros(cells.tissue.shape)
    for corner in covering_corners(cells.tissue, asking.side):
        seen = crop(cells, corner, asking.side, 0)
        _add(total, times, _falls(network, seen, corner, asking), corner)
    return _mean_of_tissue(total, times, cells.tissue)


METHODS: dict[str, Method] = {"grad-cam": grad_cam, "attention": attention, "occlusion": occlusion}


def methods_of(network: nn.Module) -> tuple[str, ...]:
    """The methods that a network has what it takes for, the best first; none where it sees no cells."""
    if hasattr(network, "first"):
        return "grad-cam", "occlusion"
    if hasattr(network, "take"):
        return ("attention", "occlusion") if hasattr(network, "attention") else ("occlusion",)
    return ()


def mean_map(method: str, networks: Sequence[nn.Module], cells: Cells, asking: Asking) -> np.ndarray:
    """float32 [row, column]: the mean of the networks' maps, NaN where there is no tissue."""
    maps = [METHODS[method](network.to(asking.device), cells, asking) for network in networks]
    return np.mean(np.array(maps, np.float64), axis=0).astype(np.float32)


def covering_corners(tissue: Mask, side: int) -> list[Corner]:
    """Crops that together hold every cell with tissue, half of each in the next; a smaller slide lies in the middle."""
    starts = [_starts(length, side) for length in tissue.shape]
    every = [(row, column) for row in starts[0] for column in starts[1]]
    return [(r, c) for r, c in every if tissue[max(r, 0) : r + side, max(c, 0) : c + side].any()]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [-((side - length) // 2)]
    n = 1 + math.ceil((length - side) / max(1, side // 2))
    return [round(float(at)) for at in np.linspace(0, length - side, n)]


def _first_maps(network: nn.Module, seen: Seen, asking: Asking) -> np.ndarray:
    """float64 [row, column] of the first convolution's grid: its maps, weighted."""
    held: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        held.append(out.detach().requires_grad_())
        return held[0]

    first: nn.Module = network.first  # type: ignore[assignment]
    hook = first.register_forward_hook(keep)
    try:
        x, mask = batch([seen], asking.device)
        with torch.enable_grad():
            asked = asking.of(network(x, mask, asking.measures.to(asking.device)))
        (gradient,) = torch.autograd.grad(asked.sum(), held[0])
    finally:
        hook.remove()
    weighted: np.ndarray = (
        torch.einsum("k,kyx->yx", gradient[0].mean((1, 2)), held[0][0].detach()).double().cpu().numpy()
    )
    return weighted


def _falls(network: nn.Module, seen: Seen, corner: Corner, asking: Asking) -> np.ndarray:
    """float64 [row, column] of a crop: how far the output falls without each block; blocks lie on the slide's grid."""
    codes, tissue = seen
    found = np.zeros(tissue.shape)
    blocks = [at for at in _blocks(tissue.shape, corner, asking.block) if tissue[at].any()]
    with torch.no_grad():
        whole = _asked(network, [seen], asking)[0]
        step = max(1, CELLS_AT_ONCE // tissue.size)
        for start in range(0, len(blocks), step):
            some = blocks[start : start + step]
            without = [(_emptied(codes, at), _emptied(tissue, at)) for at in some]
            for at, answer in zip(some, _asked(network, without, asking), strict=True):
                found[at] = whole - answer
    return found


def _asked(network: nn.Module, seen: Sequence[Seen], asking: Asking) -> np.ndarray:
    x, mask = batch(seen, asking.device)
    measures = asking.measures.to(asking.device).expand(len(seen), -1)
    answers: np.ndarray = asking.of(network(x, mask, measures)).double().cpu().numpy()
    return answers


def _blocks(shape: tuple[int, ...], corner: Corner, block: int) -> Iterator[tuple[slice, slice]]:
    """Parts of a crop that begins at a corner of the slide's grid."""
    rows, columns = (
        [slice(max(0, at), at + block) for at in range(-(first % block), length, block)]
        for first, length in zip(corner, shape, strict=True)
    )
    return ((row, column) for row in rows for column in columns)


def _emptied(array: np.ndarray, at: tuple[slice, slice]) -> np.ndarray:
    out = array.copy()
    out[at] = 0
    return out


@torch.no_grad()
def _occluded_bag(network: nn.Module, cells: Cells, asking: Asking) -> np.ndarray:
    found = np.zeros(cells.tissue.shape)
    turns = range(TURNS if asking.has_turns else 1)
    for turn in turns:
        bag = None
        for codes, _ in cells.strips(turn):
            if len(codes):
                bag = network.take(bag, *batch([(codes[None], np.ones((1, len(codes)), bool))], asking.device))  # type: ignore[operator]
        if bag is None:
            break
        measures = asking.measures.to(asking.device)
        whole = float(asking.of(network.answer(bag, measures)))  # type: ignore[operator]
        for at, codes in _block_codes(cells, asking.block, turn):
            part = network.take(None, *batch([(codes[None], np.ones((1, len(codes)), bool))], asking.device))  # type: ignore[operator]
            fade = torch.exp(part.top - bag.top)
            rest = type(bag)(
                top=bag.top,
                weight=(bag.weight - part.weight * fade).clamp(min=0),
                total=bag.total - part.total * fade[:, None],
            )
            found[at] += (whole - float(asking.of(network.answer(rest, measures)))) / len(turns)  # type: ignore[operator]
    return np.where(cells.tissue, found, np.nan).astype(np.float32)


def _block_codes(cells: Cells, block: int, turn: int) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Each block with tissue and the codes [n, code] of its cells; a row of blocks is read at a time."""
    rows, columns = cells.tissue.shape
    for top in range(0, rows, block):
        down = slice(top, min(top + block, rows))
        strip = turned_back(cells.crop(top, 0, down.stop - top, columns, turn), turn)
        for left in range(0, columns, block):
            across = slice(left, left + block)
            tissue = cells.tissue[down, across]
            if tissue.any():
                yield (down, across), strip[:, across][tissue]


def _add(total: np.ndarray, times: np.ndarray, found: np.ndarray, corner: Corner) -> None:
    """Add a crop's map to the slide's, as far as it lies on the slide."""
    (top, left), (rows, columns) = corner, found.shape
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + rows, total.shape[0]), min(left + columns, total.shape[1])
    total[y0:y1, x0:x1] += found[y0 - top : y1 - top, x0 - left : x1 - left]
    times[y0:y1, x0:x1] += 1


def _mean_of_tissue(total: np.ndarray, times: np.ndarray, tissue: Mask) -> np.ndarray:
    return np.where(tissue & (times > 0), total / np.maximum(times, 1), np.nan).astype(np.float32)
