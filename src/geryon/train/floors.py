"""What anybody gets without a network: figures that a model has to beat to mean something."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from scipy import ndimage, optimize

from geryon.slides.stains import AMOUNTS
from geryon.space import units
from geryon.space.boxes import Frame
from geryon.space.objects import Objects
from geryon.tasks import class_metrics, decoding
from geryon.tasks.given import DISC_UM
from geryon.tasks.task import Labelled, Task, get_task

RIDGE = 1e-3


def haematoxylin(image: np.ndarray) -> np.ndarray:
    """float32 [y, x]: haematoxylin's share of the optical density of an RGB image."""
    density = -np.log((image.astype(np.float32) + 1.0) / 256.0)
    return (density @ AMOUNTS[0].astype(np.float32)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Smoothing:
    """How a thresholded channel becomes objects, in µm."""

    blur_um: float
    open_um: float
    smallest_um2: float


SMOOTHINGS = {
    "glands": _Smoothing(blur_um=3.0, open_um=8.0, smallest_um2=800.0),
    "nuclei": _Smoothing(blur_um=0.5, open_um=1.0, smallest_um2=12.0),
}
"""Glands: the best of 18 settings on every fourth training image of GlaS."""


def threshold_objects(image: np.ndarray, mpp: float, how: _Smoothing) -> np.ndarray:
    """int32 [y, x]: blurred haematoxylin above Otsu's threshold, opened, holes filled, small pieces dropped."""
    channel = cv2.GaussianBlur(haematoxylin(image), (0, 0), units.px(how.blur_um, mpp))
    low, high = np.percentile(channel, [0.5, 99.5])
    scaled = np.clip((channel - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    _, mask = cv2.threshold(scaled, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    size = 2 * round(units.px(how.open_um, mpp) / 2) + 1
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    labels, n = decoding.components(ndimage.binary_fill_holes(mask))
    keep = np.bincount(labels.ravel(), minlength=n + 1) >= units.area_px(how.smallest_um2, mpp, mpp)
    keep[0] = False
    numbers = np.where(keep, np.cumsum(keep), 0)
    return numbers[labels].astype(np.int32)


@dataclass(frozen=True, slots=True)
class Found:
    """Objects and rasters by task, as a model's predict gives them."""

    objects: dict[str, Objects]
    rasters: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    """int32 [y, x]: object i filled with i + 1, where that is known better than the outlines say."""


@dataclass(frozen=True, slots=True)
class ThresholdFloor:
    """Stands where a model stands in `evaluate`: finds glands and nuclei by colour alone, without classes."""

    name: str = "haematoxylin threshold (Otsu)"
    tasks: tuple[Task, ...] = field(default_factory=lambda: _without_classes(tuple(SMOOTHINGS)))

    def predict(self, image: np.ndarray, *, mpp: float) -> Found:
        """Objects of each task in the image's own pixels."""
        height, width = image.shape[:2]
        frame = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=width, height=height)
        found = {}
        for task in self.tasks:
            labels = threshold_objects(image, mpp, SMOOTHINGS[task.name])
            score = np.full((height, width, 1), 255, np.uint8)
            found[task.name] = decoding.objects_from_labels(labels, score=score, classes=None, frame=frame)
        return Found(found)


def _without_classes(names: tuple[str, ...]) -> tuple[Task, ...]:
    return tuple(replace(get_task(name), classes=None) for name in names)


NAMES = ("colour, logistic", "colour, nearest centroid")
"""Of the classifiers of colour."""


@dataclass(frozen=True, slots=True)
class _Samples:
    """Mean and deviation of R, G, B of true objects, with their class names."""

    features: np.ndarray
    """float64 [object, 6]"""
    names: tuple[str, ...]


def _samples_of(case: Any, task: Task) -> _Samples:
    """The colour features of a case's true objects (points: a disc; tissue: the whole tile) of known class."""
    labelled: Labelled = case.labels[task.name]()
    image = case.image()
    labels, names = _labels_and_names(labelled, image.shape[:2], case.mpp)
    if image.shape[:2] != labels.shape:
        image = cv2.resize(image, (labels.shape[1], labels.shape[0]), interpolation=cv2.INTER_AREA)
    ids = np.array([i for i in np.unique(labels) if names.get(int(i))], np.int64)
    count = np.bincount(labels.ravel())[ids][:, None] if len(ids) else np.ones((0, 1))
    values = image.reshape(-1, 3).astype(np.float64)
    sums = [np.stack([np.bincount(labels.ravel(), weights=v)[ids] for v in w.T], axis=1) for w in (values, values**2)]
    mean = sums[0] / count
    deviation = np.sqrt(np.maximum(sums[1] / count - mean**2, 0))
    return _Samples(np.concatenate([mean, deviation], axis=1), tuple(names[int(i)] for i in ids))


def _labels_and_names(labelled: Labelled, shape: tuple[int, int], mpp: float) -> tuple[np.ndarray, dict[int, str]]:
    if labelled.raster is not None:
        numbers = np.bincount(labelled.raster[labelled.raster > 0], minlength=2)
        return np.ones(shape, np.int32), {1: labelled.raster_names[int(numbers.argmax()) - 1]} if numbers.any() else {}
    if labelled.points is not None:
        grid = shape if labelled.known is None else labelled.known.shape
        discs = np.zeros(grid, np.int32)
        radius = max(round(units.px(DISC_UM, mpp * shape[1] / grid[1])), 1)
        for i, (x, y) in enumerate(labelled.points, start=1):
            cv2.circle(discs, (int(x), int(y)), radius, i, thickness=-1)
        return discs, dict(enumerate(labelled.point_classes, start=1))
    if labelled.objects is not None:
        return labelled.objects, dict(labelled.classes or {})
    return np.zeros(shape, np.int32), {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourFloor:
    """A classifier of standardised colour features: linear, the largest of `features @ weight + bias` wins."""

    name: str
    classes: tuple[str, ...]
    centre: np.ndarray
    spread: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def classify(self, features: np.ndarray) -> np.ndarray:
        """int64 [object]: index into classes."""
        return (((features - self.centre) / self.spread) @ self.weight + self.bias).argmax(axis=1)


def learn_colours(cases: Iterable[Any], task: Task, names: tuple[str, ...]) -> list[ColourFloor]:
    """Logistic regression and nearest centroid on the objects of training cases; [] where they hold no two classes."""
    sets = [_samples_of(case, task) for case in cases if task.name in case.labels]
    pairs = [(row, name) for s in sets for row, name in zip(s.features, s.names, strict=True) if name in names]
    classes = tuple(name for name in names if any(name == other for _, other in pairs))
    if len(classes) < 2:
        return []
    features = np.array([row for row, _ in pairs])
    truth = np.array([classes.index(name) for _, name in pairs])
    centre, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    x = (features - centre) / spread
    centroids = np.stack([x[truth == k].mean(axis=0) for k in range(len(classes))], axis=1)
    fits = dict(
        zip(NAMES, (_logistic(x, truth, len(classes)), (2 * centroids, -(centroids**2).sum(axis=0))), strict=True)
    )
    return [
        ColourFloor(name=name, classes=classes, centre=centre, spread=spread, weight=weight, bias=bias)
        for name, (weight, bias) in fits.items()
    ]


def _logistic(x: np.ndarray, truth: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    hot = np.eye(k)[truth]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(-1, k)
        logits = design @ weight
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        slope = design.T @ (np.exp(log_p) - hot) / len(x) + RIDGE * weight
        return float(-(log_p * hot).sum() / len(x) + RIDGE / 2 * (weight**2).sum()), slope.ravel()

    best = optimize.minimize(loss, np.zeros(design.shape[1] * k), jac=True, method="L-BFGS-B").x.reshape(-1, k)
    return best[:-1], best[-1]


def colour_tally(floor: ColourFloor, case: Any, task: Task, names: tuple[str, ...]) -> class_metrics.ClassTally:
    """The floor's classes of a case's true objects, every one of them given."""
    samples = _samples_of(case, task)
    known = np.array([name in names for name in samples.names], bool)
    truth = np.array([names.index(name) for name in samples.names if name in names], np.int64)
    index = np.array([names.index(name) for name in floor.classes], np.int64)
    found = index[floor.classify(samples.features[known])] if known.any() else np.zeros(0, np.int64)
    return class_metrics.class_tally(names, found, truth, np.repeat(np.arange(len(truth))[:, None], 2, axis=1))
