"""The demo: what a new user sees first, made of the same flows that they will use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geryon import events
from geryon.flows.picture import picture, save_picture
from geryon.flows.segment import Options, segment
from geryon.flows.synth import synth
from geryon.slides.reader import open_slide
from geryon.space.boxes import Box
from geryon.store.run import RunRecord

VIEW_UM = 500.0
"""Side of the place that the picture shows."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo leaves: the record of the run, and the picture."""

    record: RunRecord
    picture: Path


def demo(out: Path, *, side_um: float, seed: int, tell: events.Tell = events.nobody) -> Demo:
    """Make a synthetic slide in `out`, segment it, and draw the middle of it."""
    path = out / f"demo-{side_um:.0f}um-{seed}.tif"
    if not path.exists():
        synth(path, size_um=(side_um, side_um), seed=seed, tell=tell)
    record = segment(path, out=out, options=Options(use_mask=True), tell=tell)
    with open_slide(path) as slide:
        um = slide.frame.um
        x, y, half = um.width / 2, um.height / 2, min(VIEW_UM, side_um) / 2
        view = picture(slide, record, Box(um, x - half, y - half, x + half, y + half))
    return Demo(record, save_picture(view, path.with_suffix(".png")))
