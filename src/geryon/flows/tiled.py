"""Codes of an encoder that sees patches: kept tile by tile, each of which is one chunk of the volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from time import perf_counter

import numpy as np

from geryon import events
from geryon.flows.cells import Block, Cells, Tile
from geryon.flows.compress_options import CompressOptions
from geryon.flows.encode import Encoded, encode
from geryon.flows.reading import UNREADABLE_PX
from geryon.nets.cores import usable_cores
from geryon.nets.encoder import Encoder
from geryon.runtime.stream import Lanes, stream
from geryon.slides.reader import Slide
from geryon.slides.salvage import Salvaged, salvaged
from geryon.space.arrays import Image
from geryon.store.features import Piece
from geryon.store.parts import Parts

LOST = "lost-"
"""Begins the name of a tile of which some cells could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileCodes:
    """The codes of a slide's cells, as far as its tiles have given them."""

    cells: Cells
    parts: Parts
    dtype: str = "float16"
    """How codes are kept: float16 where the volume holds no more, else as they come."""

    def missing(self) -> list[Tile]:
        """The tiles that are to be encoded; what could not be read before is tried again."""
        for name in [n for n in self.parts.names() if n.startswith(LOST)]:
            self.parts.drop(name.removeprefix(LOST))
            self.parts.drop(name)
        return [tile for tile in self.cells.tiles() if not self.parts.has(part_name(tile))]

    def keep(self, tile: Tile, found: Sequence[Encoded]) -> None:
        """Keep what the blocks of a tile gave."""
        lost = np.concatenate([e.lost for e in found])
        if len(lost):
            self.parts.keep(LOST + part_name(tile), {"lost": {"cells": lost}})
        codes = np.concatenate([e.codes for e in found], axis=1)
        kept = codes.astype(np.float16) if self.dtype == "float16" else codes
        cells = np.concatenate([e.cells for e in found])
        self.parts.keep(part_name(tile), {"codes": {"cells": cells, "codes": kept}})

    def lost(self) -> np.ndarray:
        """int64 [n, 2]: row and column of the cells that could not be read."""
        names = [LOST + part_name(tile) for tile in self.cells.tiles()]
        found = [self.parts.read(name, "lost")["cells"] for name in names if self.parts.has(name)]
        return np.concatenate([np.zeros((0, 2), np.int64), *found])

    def pieces(self, code: int) -> Iterator[Piece]:
        """The kept tiles, codes of that length."""
        for tile in self.cells.tiles():
            kept = self.parts.read(part_name(tile), "codes")
            rows, columns = self.cells.in_tile(tile)
            shape = rows.stop - rows.start, columns.stop - columns.start
            at = tuple((kept["cells"] - tile).T)
            codes = np.zeros((len(kept["codes"]), *shape, code), kept["codes"].dtype)
            codes[(slice(None), *at)] = kept["codes"]
            tissue = np.zeros(shape, bool)
            tissue[at] = True
            yield Piece(
                features=codes[0],
                tissue=tissue,
                turned=codes[1:] if len(codes) > 1 else None,
                top=rows.start,
                left=columns.start,
            )


def part_name(tile: Tile) -> str:
    """The name under which a finished tile is kept."""
    return f"tile-{tile[0]:05d}-{tile[1]:05d}"


def encode_tiles(
    slide: Slide,
    *,
    net: Encoder,
    codes: TileCodes,
    options: CompressOptions,
    change: Callable[[Image], Image] = lambda image: image,
    tell: events.Tell = events.nobody,
) -> None:
    """Ask the encoder for the codes that are missing; `change` is done to the pixels before."""
    began, cells = perf_counter(), codes.cells
    todo = codes.missing()
    total = int(np.count_nonzero(cells.asked))
    left = sum(int(np.count_nonzero(cells.asked[cells.in_tile(tile)])) for tile in todo)
    tell(events.Started(stage="compress", total=total, unit="cells", done=total - left))

    def read(block: Block) -> tuple[Block, Salvaged]:
        seen = salvaged(slide, block.box, UNREADABLE_PX)
        return block, replace(seen, image=change(seen.image))

    def work(batch: Sequence[tuple[Block, Salvaged]]) -> list[Encoded]:
        return [encode(net, block, seen, options) for block, seen in batch]

    lanes = Lanes(readers=usable_cores(), workers=net.lanes)
    with closing(stream(cells.blocks(todo), read, work, lanes)) as done:
        for tile, blocks in groupby(_heard(done, tell), key=lambda pair: pair[0].tile):
            codes.keep(tile, [encoded for _, encoded in blocks])
    tell(events.Finished(stage="compress", seconds=perf_counter() - began))


def _heard(done: Iterator[tuple[Block, Encoded]], tell: events.Tell) -> Iterator[tuple[Block, Encoded]]:
    for block, encoded in done:
        yield block, encoded
        tell(events.Advanced(stage="compress", n=len(block.cells)))
        if encoded.fault:
            tell(events.Warned(text=f"{len(encoded.lost)} cells can't be read, and hold no code: {encoded.fault}"))
