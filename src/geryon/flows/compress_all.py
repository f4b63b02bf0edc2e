"""Compress many slides, and write each in the layouts of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from geryon import events
from geryon.flows.compress import compress
from geryon.flows.compress_options import CompressOptions
from geryon.flows.listed import Listed, listed
from geryon.flows.many import each
from geryon.nets.encoder import load_encoder
from geryon.slides.formats import stem as name_of
from geryon.store.bags.layout import get_layout
from geryon.store.features import Volume


def compress_all(
    slides: Sequence[str | Path | Listed],
    *,
    out: str | Path,
    encoder: str | Path,
    options: CompressOptions | None = None,
    to: Sequence[str] = (),
    tell: events.Tell = events.nobody,
) -> list[Volume]:
    """The volumes of several slides, the encoder loaded once; see flows.many for what failures do.

    `to` names layouts of store.bags.BAGS: OUT/<layout>/ gets the files of all slides, made anew from finished volumes
    too. A layout that needs what is not installed is a MissingPartError before any slide is looked at.
    """
    asked = options or CompressOptions()
    layouts = {name: get_layout(name) for name in to}
    each_slide = listed(slides, mask=asked.mask)
    net = load_encoder(encoder, engine=asked.engine)
    own = {slide.path: slide for slide in each_slide}

    def one(path: Path) -> Volume:
        mine = replace(asked, mpp=own[path].mpp or asked.mpp, mask=own[path].mask or asked.mask)
        volume = compress(path, out=out, encoder=net, options=mine, tell=tell)
        for name, layout in layouts.items():
            layout.write(volume, Path(out) / name)
        return volume

    return each([slide.path for slide in each_slide], one, out=Path(out), name_of=name_of, tell=tell)
