"""A model's own encoder as an encoder of slides: it sees them in windows, as it does when it finds objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geryon.nets.cells import CODE_PX, codes_of
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.encoders.engines import CodeEngine
from geryon.nets.model import HALO_PX, Model, cut
from geryon.nets.topologies import FEATURES
from geryon.space.boxes import Box, Frame
from geryon.space.windows import Window

SMALLEST_PX = 64
"""Side of the image that tells how long a code is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowedCodes:
    """A code engine for single patches (nets/encoders/engines.py) of a model that gives features.

    A patch is mirrored at its border, as a slide of its size would be; in a slide the network sees what lies around a
    cell, so codes of patches cut out of one are near those of its cells, not the same. Six times dearer than windows.
    """

    model: Model
    name: str
    lanes: int
    batch: int
    precision: str
    dense_stride_px: None = None
    """Slides are seen in windows of the model's own."""

    def codes(self, patches: np.ndarray) -> np.ndarray:
        frame = Frame(name="task", mpp_x=self.model.mpp, mpp_y=self.model.mpp, width=CODE_PX, height=CODE_PX)
        window = Window(frame.box, Box(frame, 0.0, 0.0, CODE_PX, CODE_PX).grow(HALO_PX))
        images = [cut(patch, window.outer) for patch in patches]
        maps = self.model.maps(images, [window.outer] * len(images))
        return np.stack([codes_of(found[FEATURES.name], window)[0, 0] for found in maps])

    def dense(self, image: np.ndarray, stride_px: int) -> np.ndarray:
        """Never asked: dense_stride_px is None."""
        raise NotImplementedError


def windowed(model: Model) -> tuple[EncoderDocument, CodeEngine]:
    """The encoder of a model that was loaded with its features: what it says of itself, and its engine."""
    engine, told = model.engine, model.document
    [maps] = model.maps([np.zeros((SMALLEST_PX, SMALLEST_PX, 3), np.uint8)], [_place(model.mpp)])
    document = EncoderDocument(
        name=told.name,
        version=told.version,
        topology=told.topology,
        settings=told.settings,
        mpp=told.mpp,
        patch_px=CODE_PX,
        code=maps[FEATURES.name].shape[2],
        sources=told.sources,
        use=told.use,
        held_out=told.held_out,
    )
    codes: Any = WindowedCodes(
        model=model, name=engine.name, lanes=engine.lanes, batch=engine.batch, precision=engine.precision
    )
    return document, codes


def _place(mpp: float) -> Box:
    return Frame(name="task", mpp_x=mpp, mpp_y=mpp, width=SMALLEST_PX, height=SMALLEST_PX).box
