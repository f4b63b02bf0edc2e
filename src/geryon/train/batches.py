"""From draws to arrays: crops cut, turned, coloured and stacked, some steps ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geryon.errors import InputError, MissingPartError
from geryon.train.augment_settings import AugmentSettings
from geryon.train.sampling import GRID_PX, Draw

if TYPE_CHECKING:
    from geryon.train.warp import Warp

TARGET_UNIT, WEIGHT_UNIT = 255.0, 20.0
"""A packed target byte is the value times 255, a packed weight byte the weight times 20 (the largest is 12)."""


class Sample(Protocol):
    """What batches need of a packed sample (train.packed.Sample)."""

    @property
    def source(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def image(self) -> np.ndarray: ...
    @property
    def targets(self) -> Mapping[str, np.ndarray]: ...
    @property
    def weights(self) -> Mapping[str, np.ndarray]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MapShape:
    """Channels of a map, and its pixel in pixels of the image."""

    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class Crop:
    """Where a crop of a batch comes from."""

    source: str
    sample: str
    x_px: int
    """Left edge in the sample."""
    y_px: int

    def __str__(self) -> str:
        return f"{self.sample} of {self.source} at x {self.x_px}, y {self.y_px} px"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One step's food, as bytes; maps that no crop of the batch knows are left out."""

    step: int
    images: np.ndarray
    """uint8 [n, y, x, 3]."""
    targets: dict[str, np.ndarray]
    """{map: uint8 [n, y, x, channel]}."""
    weights: dict[str, np.ndarray]
    """{map: uint8 [n, y, x]}."""
    crops: tuple[Crop, ...]
    """Of each image."""


def map_shapes(samples: Sequence[Sample], names: Sequence[str]) -> dict[str, MapShape]:
    """Shapes of those of the named maps that any sample has; samples must agree on them."""
    shapes: dict[str, MapShape] = {}
    for i, sample in enumerate(samples):
        height, width = sample.image.shape[:2]
        if height % GRID_PX or width % GRID_PX:
            raise InputError(
                what=f"its image is {width} x {height} pixels, not multiples of {GRID_PX}",
                where=f"sample {i}",
                mend="make the pack anew",
            )
        for name in names:
            if name in sample.targets:
                target = sample.targets[name]
                shape = MapShape(channels=target.shape[2], stride=height // target.shape[0])
                if shapes.setdefault(name, shape) != shape:
                    raise InputError(
                        what=f"map {name} is {shape}, others have {shapes[name]}",
                        where=f"sample {i}",
                        mend="make the pack anew",
                    )
    return shapes


def class_counts(samples: Sequence[Sample], name: str) -> np.ndarray:
    """float64 [sample, class]: weighted pixels of each class in the map of that name, 0 where a sample lacks it."""
    rows = [
        np.tensordot(s.weights[name].astype(np.float64), s.targets[name] == TARGET_UNIT, axes=([0, 1], [0, 1]))
        if name in s.targets
        else None
        for s in samples
    ]
    width = max((len(row) for row in rows if row is not None), default=0)
    return np.stack([np.zeros(width) if row is None else row for row in rows])


def assemble(
    samples: Sequence[Sample],
    shapes: Mapping[str, MapShape],
    draws: Sequence[Draw],
    crop_px: int,
    colours: AugmentSettings,
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Images, targets and weights of the draws; outside a sample is white glass of weight 0."""
    warps = [_changing("warp").draw_warp(d.seed, colours, crop_px) if colours.strength > 0 else None for d in draws]
    crops = [View(d, warp, crop_px) for d, warp in zip(draws, warps, strict=True)]
    images = np.stack([_image(samples[c.draw.sample].image, c, colours) for c in crops])
    targets: dict[str, np.ndarray] = {}
    weights: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        side = crop_px // shape.stride
        weight = np.zeros((len(draws), side, side), np.uint8)
        target = np.zeros((len(draws), side, side, shape.channels), np.uint8)
        for i, crop in enumerate(crops):
            sample = samples[crop.draw.sample]
            if name in sample.targets:
                weight[i] = crop.of(sample.weights[name], shape.stride)
                target[i] = crop.of(sample.targets[name], shape.stride, smooth=shape.channels == 1)
        if weight.any():
            targets[name], weights[name] = target, weight
    return images, targets, weights


@dataclass(frozen=True, slots=True)
class View:
    """A draw, how it is deformed, and its side."""

    draw: Draw
    warp: Warp | None
    side_px: int

    def of(self, array: np.ndarray, stride: int = 1, *, fill: int = 0, smooth: bool = False) -> np.ndarray:
        """What the crop holds of a sample's array [y, x, ...] whose pixels are `stride` of the image's.

        Where it is deformed, `smooth` interpolates between amounts; classes and weights are the nearest pixel's.
        """
        d, warp = self.draw, self.warp
        if warp is None:
            part = cut(array, (d.y_px // stride, d.x_px // stride), self.side_px // stride, fill)
        else:
            size = array.shape[1] * stride, array.shape[0] * stride
            bent = _changing("warp")
            centre = bent.centre_of((d.x_px, d.y_px), size, warp, self.side_px)
            grid = self.side_px, stride
            part = bent.warped(array, centre=centre, warp=warp, grid=grid, fill=fill, smooth=smooth)
        return turned(part, d.turn)


def _image(image: np.ndarray, crop: View, colours: AugmentSettings) -> np.ndarray:
    seen = np.ascontiguousarray(crop.of(image, fill=255, smooth=True))
    if colours.strength <= 0:
        return seen
    changed: np.ndarray = _changing("augment").augment(seen, np.random.default_rng(crop.draw.seed), colours)
    return changed


def _changing(module: str) -> Any:
    """What deforms or recolours crops: asked for only where a recipe wants it, since a bare machine has no OpenCV."""
    try:
        found = import_module(f"geryon.train.{module}")
        found.cv2.setNumThreads(1)  # crops are made by threads of ours
        return found
    except ImportError as error:
        raise MissingPartError(
            what=f"crops can't be changed: {error}",
            where="train.augment",
            mend="pip install opencv-python-headless, or write augment: {strength: 0}",
        ) from error


def cut(array: np.ndarray, at: tuple[int, int], side: int, fill: int) -> np.ndarray:
    """The square of that side whose top left is `at` (y, x), filled where it leaves the array."""
    (y, x), (height, width) = at, array.shape[:2]
    if y >= 0 and x >= 0 and y + side <= height and x + side <= width:
        return array[y : y + side, x : x + side]
    out = np.full((side, side, *array.shape[2:]), fill, array.dtype)
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + side, height), min(x + side, width)
    out[top - y : bottom - y, left - x : right - x] = array[top:bottom, left:right]
    return out


def turned(array: np.ndarray, turn: int) -> np.ndarray:
    """Element 0..7 of the dihedral group, applied to axes 0 and 1."""
    return np.rot90(array[:, ::-1] if turn >= 4 else array, turn % 4)


def ahead(make: Callable[[int], Batch], steps: range, *, threads: int, depth: int) -> Iterator[Batch]:
    """The batches of these steps in order, up to `depth` of them prepared ahead by `threads` threads."""
    if threads < 1:
        yield from map(make, steps)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="batch") as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
