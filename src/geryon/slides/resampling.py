"""Area averaging that depends on the place only: any box read alone equals the crop of a bigger read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from geryon.space.arrays import Image

WHOLE_STEP = 1e-6
"""Steps this close to a whole number are one: 4000 pixels on, the drift is still below a hundredth of a pixel."""
WHOLE_EDGE = 1e-3
"""Edges this close to a pixel edge lie on it; what is left over is rounding of µm to pixels."""


@dataclass(frozen=True, slots=True)
class Span:
    """`count` pixels of the result along one axis, each `step` pixels of the source, from `start` on."""

    start: float
    step: float
    count: int

    @property
    def factor(self) -> int:
        """The whole number of source pixels in each, or 0 when edges fall inside pixels."""
        k = round(self.step)
        on_grid = abs(self.start - round(self.start)) < WHOLE_EDGE
        return k if k >= 1 and on_grid and abs(self.step - k) < WHOLE_STEP else 0

    @property
    def first(self) -> int:
        """First source pixel that takes part; may be negative."""
        if self.factor:
            return round(self.start)
        return math.floor(self._edges[0]) if self.step >= 1 else math.floor(self._centres[0])

    @property
    def last(self) -> int:
        """One past the last source pixel that takes part."""
        if self.factor:
            return round(self.start) + self.factor * self.count
        return math.ceil(self._edges[-1]) if self.step >= 1 else math.floor(self._centres[-1]) + 2

    def part(self, begin: int, end: int) -> Span:
        """The result's pixels `begin` to `end` alone."""
        return Span(self.start + begin * self.step, self.step, end - begin)

    @property
    def _edges(self) -> np.ndarray:
        return np.round(self.start + self.step * np.arange(self.count + 1), 6)

    @property
    def _centres(self) -> np.ndarray:
        return np.round(self.start + self.step * (np.arange(self.count) + 0.5) - 0.5, 6)

    def taps(self) -> tuple[np.ndarray, np.ndarray]:
        """(source pixel less `first`, weight), each [tap, pixel of the result]."""
        if self.step < 1 and not self.factor:
            low = np.floor(self._centres)
            weight = self._centres - low
            index = np.stack([low, low + 1])
            return (index - self.first).astype(np.intp), np.stack([1 - weight, weight]).astype(np.float32)
        edges = np.round(self.start) + self.factor * np.arange(self.count + 1) if self.factor else self._edges
        low, high = edges[:-1], edges[1:]
        index = np.floor(low) + np.arange(math.ceil(self.step - WHOLE_STEP) + 1)[:, None]
        weight = np.clip(np.minimum(index + 1, high) - np.maximum(index, low), 0, None)
        weight /= weight.sum(axis=0)
        index = np.minimum(index - self.first, self.last - self.first - 1)  # weight is 0 beyond
        return index.astype(np.intp), weight.astype(np.float32)


def resample(source: Image, x: Span, y: Span) -> Image:
    """The image [y.count, x.count] whose pixels are the means over theirs of `source`.

    `source` holds exactly the pixels x.first..x.last and y.first..y.last. Steps below 1: linear between centres.
    """
    if x.factor == y.factor == 1:
        return source
    if x.factor and y.factor:
        return cv2.resize(source, (x.count, y.count), interpolation=cv2.INTER_AREA)
    rows = _weigh(source, y)
    return np.rint(_weigh(rows.transpose(1, 0, 2), x).transpose(1, 0, 2)).astype(np.uint8)


def _weigh(pixels: np.ndarray, span: Span) -> np.ndarray:
    index, weight = span.taps()
    total = pixels[index[0]] * weight[0][:, None, None]
    for i, w in zip(index[1:], weight[1:], strict=True):
        total += pixels[i] * w[:, None, None]
    return total
