"""Codes of an encoder that sees windows: kept window by window, whether they come with the objects or alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from time import perf_counter

import numpy as np

from geryon import events
from geryon.errors import UsageError
from geryon.flows.compress_options import CompressOptions
from geryon.flows.encode import refuse_other_numbers
from geryon.flows.plan import Cell
from geryon.flows.question import Question, digest_of
from geryon.flows.reading import read_window, said_of_loss
from geryon.nets.cells import codes_of
from geryon.nets.cores import usable_cores
from geryon.nets.model import Model
from geryon.nets.topologies import FEATURES
from geryon.runtime.stream import Lanes, stream
from geryon.slides.reader import Slide
from geryon.slides.salvage import Salvaged
from geryon.space.arrays import Image, Mask
from geryon.space.turns import TURNS, turned, turned_back
from geryon.space.windows import Tiling, Window
from geryon.store.features import Piece
from geryon.store.parts import Parts

NAME = "codes-"
"""Begins the name of a window whose codes are kept."""
LOST = "lost-"
"""Before that name where some of the window could not be read: which of its cells have no code."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowCodes:
    """The codes of a slide's cells, as far as its windows have given them."""

    cell_px: int
    """Side of a cell."""
    windows: Tiling
    """Their cores begin and end at corners of cells, but for the slide's right and lower border."""
    halo_px: int
    asked: Mask
    """[row, column]: the cells with tissue."""
    parts: Parts
    encoder: str
    """Its name, for errors."""
    dtype: str = "float16"
    """How codes are kept: float16 where the volume holds no more, else float32."""

    @property
    def across(self) -> int:
        """Cells along a side of a window."""
        return self.windows.step // self.cell_px

    def window(self, cell: Cell) -> Window:
        """What the network sees for a window."""
        return self.windows.window(*cell, self.halo_px)

    def needed(self) -> list[Cell]:
        """Windows with a cell that is asked, row by row."""
        found = np.unique(np.argwhere(self.asked) // self.across, axis=0)
        return [(int(row), int(column)) for row, column in found]

    def missing(self) -> list[Cell]:
        """Those whose codes are not kept; windows that could not be read in full are tried again."""
        for cell in self.needed():
            if self.parts.has(LOST + name_of(cell)):
                self.forget(cell)
        return [cell for cell in self.needed() if not self.parts.has(name_of(cell))]

    def forget(self, cell: Cell) -> None:
        """Let go of a window's codes."""
        self.parts.drop(name_of(cell))
        self.parts.drop(LOST + name_of(cell))

    def keep(self, cell: Cell, codes: np.ndarray | None, unreadable: Mask | None = None) -> None:
        """Keep the codes of the asked cells of a window: float32 [turn, row, column, code], None where all are lost.

        `unreadable` is True at pixels [y, x] of its core that could not be read, and their cells have no code; given
        where anything of the window could not be read, were it in its halo.
        """
        cells = self._asked_in(cell)
        if not len(cells):
            return
        at = tuple((cells - self._corner(cell)).T)
        is_lost = np.zeros(len(cells), bool) if unreadable is None else _any(unreadable, self.cell_px)[at]
        if codes is None:
            codes, is_lost = np.zeros((1, self.across, self.across, 0), np.float32), np.ones(len(cells), bool)
        if unreadable is not None:
            self.parts.keep(LOST + name_of(cell), {"lost": {"cells": cells[is_lost]}})
        kept = codes[(slice(None), *at)][:, ~is_lost]
        refuse_other_numbers(self.encoder, kept, self.dtype)
        kept = kept.astype(self.dtype)
        self.parts.keep(name_of(cell), {"codes": {"cells": cells[~is_lost], "codes": kept}})

    def keep_seen(self, cell: Cell, features: np.ndarray | None, unreadable: Mask | None) -> None:
        """The same from what the encoder saw of the window's outer box (FEATURES)."""
        self.keep(cell, None if features is None else self.codes_in(features, self.window(cell))[None], unreadable)

    def codes_in(self, features: np.ndarray, window: Window) -> np.ndarray:
        """float32 [row, column, code] of the cells in the window's core, from FEATURES over its outer box."""
        return codes_of(features, window, self.cell_px)

    def lost(self) -> np.ndarray:
        """int64 [n, 2]: row and column of the asked cells that could not be read."""
        names = [LOST + name_of(cell) for cell in self.needed()]
        found = [self.parts.read(name, "lost")["cells"] for name in names if self.parts.has(name)]
        return np.concatenate([np.zeros((0, 2), np.int64), *found])

    def pieces(self, side: int, code: int, turns: int = 1) -> Iterator[Piece]:
        """All that is kept, in squares of at least `side` cells, for `store.features.write_volume`."""
        step = max(1, side // self.across)
        squares: dict[Cell, list[Cell]] = {}
        for row, column in self.needed():
            squares.setdefault((row // step, column // step), []).append((row, column))
        for (row, column), windows in sorted(squares.items()):
            top, left = row * step * self.across, column * step * self.across
            shape = self.asked[top : top + step * self.across, left : left + step * self.across].shape
            codes, tissue = np.zeros((turns, *shape, code), self.dtype), np.zeros(shape, bool)
            for window in windows:
                kept = self.parts.read(name_of(window), "codes")
                if len(kept["cells"]):
                    at = tuple((kept["cells"] - (top, left)).T)
                    codes[(slice(None), *at)], tissue[at] = kept["codes"], True
            yield Piece(features=codes[0], tissue=tissue, turned=codes[1:] if turns > 1 else None, top=top, left=left)

    def _corner(self, cell: Cell) -> tuple[int, int]:
        return cell[0] * self.across, cell[1] * self.across

    def _asked_in(self, cell: Cell) -> np.ndarray:
        """int64 [n, 2]: row and column of the asked cells of a window."""
        top, left = self._corner(cell)
        return np.argwhere(self.asked[top : top + self.across, left : left + self.across]) + (top, left)


def question_of_windows(model: Model | None, options: CompressOptions, stride_px: int) -> Question:
    """What is added to a volume's question where a model's own encoder makes it: core and halo of its windows.

    UsageError where its cells can't be so: they lie side by side, and whole in a window.
    """
    if model is None:
        return {}
    step, halo = options.windows or model.window_px()
    unit, faults, mends = FEATURES.stride, [], []
    if stride_px % unit or step % stride_px:
        asked = f"a stride of {stride_px} px" if options.stride else f"windows of {step} px"
        faults.append(f"{asked} (its cells are multiples of {unit} px, lie side by side and fill windows of {step} px)")
        mends.append(f"ask for a stride such as {2 * unit}px or {4 * unit}px")
    if options.is_legacy:
        faults.append("the rules of the published code")
        mends.append("leave --legacy out")
    if faults:
        raise UsageError(
            what=f"a model's own encoder can't have {' or '.join(faults)}",
            where=model.document.name,
            mend=f"{' and '.join(mends)}, or take an encoder of patches",
        )
    return {"windows": digest_of([step, halo])}


def name_of(cell: Cell) -> str:
    """The name under which a window's codes are kept."""
    return f"{NAME}{cell[0]:05d}-{cell[1]:05d}"


def encode_windows(
    slide: Slide,
    *,
    net: Model,
    codes: WindowCodes,
    turns: str = "one",
    change: Callable[[Image], Image] = lambda image: image,
    tell: events.Tell = events.nobody,
) -> None:
    """Ask the encoder alone for the codes that are missing; `net` gives features, and best no maps.

    `turns` is a name in store.features.About: of a turned window the codes are put back where their cells lie.
    """

    began, needed, missing = perf_counter(), len(codes.needed()), codes.missing()
    tell(events.Started(stage="encode", total=needed, unit="windows", done=needed - len(missing)))

    def read(cell: Cell) -> tuple[Window, Salvaged]:
        window = codes.window(cell)
        seen = read_window(slide, window.outer)
        return window, replace(seen, image=change(seen.image))

    def work(batch: Sequence[tuple[Window, Salvaged]]) -> list[tuple[np.ndarray, Window, Salvaged]]:
        windows, images = [w for w, _ in batch], [seen.image for _, seen in batch]
        each = [_seen_turned(net, images, windows, k, codes) for k in range(1 if turns == "one" else TURNS)]
        found = [np.stack(of_window) for of_window in zip(*each, strict=True)]
        found = [f.mean(axis=0, keepdims=True, dtype=np.float32) for f in found] if turns == "mean" else found
        return [(f, *seen) for f, seen in zip(found, batch, strict=True)]

    lanes = Lanes(readers=usable_cores(), workers=net.engine.lanes, batch=net.engine.batch)
    with closing(stream(missing, read, work, lanes)) as done:
        for cell, (found, window, seen) in done:
            unreadable = None if seen.fault is None else seen.unreadable[window.core_in_outer]
            if unreadable is not None:
                tell(events.Warned(text=said_of_loss(seen, unreadable, window)))
            codes.keep(cell, found, unreadable)
            tell(events.Advanced(stage="encode"))
    tell(events.Finished(stage="encode", seconds=perf_counter() - began))


def _seen_turned(
    net: Model, images: Sequence[Image], windows: Sequence[Window], k: int, codes: WindowCodes
) -> list[np.ndarray]:
    """float32 [row, column, code] of each window's cells, from its image turned so."""
    maps = net.maps([np.ascontiguousarray(turned(image, k)) for image in images], [w.outer for w in windows])
    return [codes.codes_in(turned_back(m[FEATURES.name], k), w) for m, w in zip(maps, windows, strict=True)]


def _any(unreadable: Mask, cell_px: int) -> Mask:
    """[row, column]: the cells of a core with a pixel that could not be read."""
    rows, columns = (-(-side // cell_px) for side in unreadable.shape)
    out = np.zeros((rows, columns), bool)
    for row, column in product(range(rows), range(columns)):
        at = np.s_[row * cell_px : (row + 1) * cell_px, column * cell_px : (column + 1) * cell_px]
        out[row, column] = unreadable[at].any()
    return out
