"""How a kind of model sees a slide: what a training step takes of it, what validates, and how it is answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from geryon.cohort.crops import Seen, all_turns, crop, drawn_corner, sampled_bag, spread_corners
from geryon.cohort.models import Settings
from geryon.cohort.volumes import Shelf, checked
from geryon.space.turns import TURNS

CELLS_AT_ONCE = 2 * 400 * 400
"""Cells that go through a network at once when a slide is answered: about half a GB of codes and maps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slides:
    """What a model looks at."""

    shelf: Shelf
    has_turns: bool
    settings: Settings
    measures: np.ndarray
    """float64 [slide, measure] of objects; no column where the model takes none."""
    device: str = "cpu"

    def objects(self, which: Sequence[int]) -> Tensor:
        """float32 [n, measure]"""
        return torch.from_numpy(self.measures[list(which)].astype(np.float32)).to(self.device)


class View(Protocol):
    """One way of seeing slides."""

    def drawn(self, slides: Slides, i: int, rng: np.random.Generator) -> Seen:
        """What a training step sees of slide i."""

    def fixed(self, slides: Slides, i: int) -> list[Seen]:
        """What validates of slide i: the same each time."""

    def logits(self, network: nn.Module, slides: Slides, i: int) -> np.ndarray:
        """float64 [view, outputs]: the logits of slide i from each way of looking; their answers are averaged."""


class Crops:
    """Squares of cells."""

    def drawn(self, slides: Slides, i: int, rng: np.random.Generator) -> Seen:
        """A random crop around tissue in a random turn."""
        side, cells = slides.settings.cells, slides.shelf[i]
        return crop(cells, drawn_corner(cells.tissue, side, rng), side, int(rng.integers(TURNS)))

    def fixed(self, slides: Slides, i: int) -> list[Seen]:
        """Some crops spread over the tissue, unturned."""
        side, cells = slides.settings.cells, slides.shelf[i]
        corners = spread_corners(cells.tissue, side, slides.settings.validation_crops)
        return [crop(cells, corner, side, 0) for corner in corners]

    def logits(self, network: nn.Module, slides: Slides, i: int) -> np.ndarray:
        """Of crops spread over the tissue, each in eight turns."""
        side, cells, found = slides.settings.cells, slides.shelf[i], []
        for corner in spread_corners(cells.tissue, side, slides.settings.test_crops):
            seen = all_turns(cells, corner, side, slides.has_turns)
            step = max(1, CELLS_AT_ONCE // side**2)
            for start in range(0, TURNS, step):
                found.append(run(network, slides, seen[start : start + step], i))
        return np.concatenate(found)


class Bags:
    """Cells without places."""

    def drawn(self, slides: Slides, i: int, rng: np.random.Generator) -> Seen:
        """A sample of the cells, in a random turn where the volume has codes of all."""
        turn = int(rng.integers(TURNS)) if slides.has_turns else 0
        return _row(sampled_bag(slides.shelf[i], slides.settings.instances, rng, turn))

    def fixed(self, slides: Slides, i: int) -> list[Seen]:
        """A sample that is always the same."""
        rng = np.random.default_rng(i)
        return [_row(sampled_bag(slides.shelf[i], slides.settings.instances, rng))]

    def logits(self, network: nn.Module, slides: Slides, i: int) -> np.ndarray:
        """Of all cells, strip by strip; in each turn that the volume has codes of."""
        cells, found = slides.shelf[i], []
        for turn in range(TURNS if slides.has_turns else 1):
            bag = None
            for codes, _ in cells.strips(turn):
                if len(codes):
                    bag = network.take(bag, *batch([_row(checked(codes, cells.path))], slides.device))  # type: ignore[operator]
            found.append(network.answer(bag, slides.objects([i])))  # type: ignore[operator]
        whole: np.ndarray = torch.cat(found).double().cpu().numpy()
        return whole


VIEWS: dict[str, View] = {"crops": Crops(), "bags": Bags()}
"""By Kind.sees; the other kinds see `pooled` numbers alone."""


def pooled(slides: Slides, sees: str, i: int) -> np.ndarray:
    """float64 [code] what a convex model sees of slide i: the mean of its cells over all turns, or nothing ([0])."""
    if sees == "nothing":
        return np.zeros(0)
    cells, total, n = slides.shelf[i], np.zeros(slides.shelf[i].code), 0
    for turn in range(TURNS if slides.has_turns else 1):
        for codes, _ in cells.strips(turn):
            total += checked(codes, cells.path).sum(0, dtype=np.float64)
            n += len(codes)
    return total / max(n, 1)


def run(network: nn.Module, slides: Slides, seen: Sequence[Seen], i: int) -> np.ndarray:
    """float64 [view, outputs]: logits of several views of slide i."""
    x, mask = batch(seen, slides.device)
    with torch.no_grad():
        logits: np.ndarray = network(x, mask, slides.objects([i] * len(seen))).double().cpu().numpy()
    return logits


def batch(seen: Iterable[Seen], device: str) -> tuple[Tensor, Tensor]:
    """(float32 [n, code, row, column], bool [n, row, column]), filled up to the largest with cells without tissue."""
    every = list(seen)
    rows, columns = (max(mask.shape[axis] for _, mask in every) for axis in (0, 1))
    x = np.zeros((len(every), rows, columns, every[0][0].shape[2]), np.float32)
    there = np.zeros((len(every), rows, columns), bool)
    for k, (codes, mask) in enumerate(every):
        x[k, : mask.shape[0], : mask.shape[1]] = codes
        there[k, : mask.shape[0], : mask.shape[1]] = mask
    return torch.from_numpy(x).to(device).permute(0, 3, 1, 2), torch.from_numpy(there).to(device)


def _row(codes: np.ndarray) -> Seen:
    """A bag as a volume of one row."""
    return codes[None], np.ones((1, len(codes)), bool)
