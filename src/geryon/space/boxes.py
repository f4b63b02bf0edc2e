"""Frames and boxes: a box knows the pixels it is counted in, and refuses to meet others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from geryon.space import units


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A pixel grid over one slide, its origin at the slide's top left.

    `name` is "level0" (full resolution), "task" (a task's own resolution) or "um";
    width and height are in this frame's own units, pixel edges at integers.
    """

    name: str
    mpp_x: float
    mpp_y: float
    width: float
    height: float

    def at(self, mpp: float, name: str = "task") -> Frame:
        """The same slide counted in square pixels of `mpp` µm; the last pixel may be a part of one."""
        return Frame(
            name=name,
            mpp_x=mpp,
            mpp_y=mpp,
            width=units.px(units.um(self.width, self.mpp_x), mpp),
            height=units.px(units.um(self.height, self.mpp_y), mpp),
        )

    @property
    def um(self) -> Frame:
        """The same slide counted in µm."""
        return self.at(1.0, "um")

    @property
    def box(self) -> Box:
        """All of it."""
        return Box(self, 0.0, 0.0, self.width, self.height)

    @property
    def area_mm2(self) -> float:
        """The slide's area in mm²."""
        return units.um(self.width, self.mpp_x) * units.um(self.height, self.mpp_y) / 1e6


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in one frame, edges in that frame's units.

    >>> level0 = Frame(name="level0", mpp_x=0.25, mpp_y=0.25, width=4000, height=2000)
    >>> Box(level0, 100, 100, 200, 300).to(level0.um).xmax
    50.0
    """

    frame: Frame
    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def width(self) -> float:
        return self.xmax - self.xmin

    @property
    def height(self) -> float:
        return self.ymax - self.ymin

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns when the edges lie on whole pixels."""
        return round(self.height), round(self.width)

    @property
    def is_empty(self) -> bool:
        return self.xmax <= self.xmin or self.ymax <= self.ymin

    def to(self, frame: Frame) -> Box:
        """The same place counted in another frame of the same slide."""
        x = self.frame.mpp_x / frame.mpp_x
        y = self.frame.mpp_y / frame.mpp_y
        return Box(frame, self.xmin * x, self.ymin * y, self.xmax * x, self.ymax * y)

    def grow(self, by: float) -> Box:
        """Wider by `by` units on each side."""
        return replace(self, xmin=self.xmin - by, ymin=self.ymin - by, xmax=self.xmax + by, ymax=self.ymax + by)

    def whole(self) -> Box:
        """The smallest box with whole-number edges that holds this one."""
        eps = 1e-6
        return Box(
            self.frame,
            math.floor(self.xmin + eps),
            math.floor(self.ymin + eps),
            math.ceil(self.xmax - eps),
            math.ceil(self.ymax - eps),
        )

    def meet(self, other: Box) -> Box:
        """What both hold; may be empty."""
        if self.frame != other.frame:
            raise ValueError(f"boxes of two frames can't meet: {self.frame} and {other.frame}")
        return Box(
            self.frame,
            max(self.xmin, other.xmin),
            max(self.ymin, other.ymin),
            min(self.xmax, other.xmax),
            min(self.ymax, other.ymax),
        )
