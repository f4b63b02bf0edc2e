"""The published Cerberus post-processing: maps of inner part and contour to label maps.

Rules are those of Graham et al., Medical Image Analysis 2022, 102685, as described in our specification
(thresholds, sizes, kernels in pixels at 0.5 µm, `ds` for maps at another scale). Maps are float32 0..1 or uint8 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geryon.space.boxes import Frame
from geryon.space.objects import Objects
from geryon.tasks import cerberus_kernels as kernels
from geryon.tasks import decoding

GLAND_SURE, LUMEN_SURE, NUCLEUS_SURE, CONTOUR_SURE = 0.55, 0.5, 0.5, 0.5
GLAND_SMALLEST_PX, LUMEN_SMALLEST_PX = 1000, 150
GLAND_KERNEL_PX, LUMEN_KERNEL_PX = 10, 2
NUCLEUS_SMALLEST_PX, MARKER_SMALLEST_PX = 8, 4
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTable:
    """One row an object, in the pixels of the map, or with `ds` of the full-size map."""

    ids: np.ndarray
    """int64 [n]"""
    box: np.ndarray
    """[n, 4]: xmin, ymin, xmax, ymax"""
    centroid: np.ndarray
    """[n, 2]: x, y of pixel numbers (a pixel's middle is a whole number), the published frame"""
    kind: np.ndarray
    """int64 [n]: the commonest type id, the second where that is 0 and there is one"""
    kind_share: np.ndarray
    """float64 [n]: the share of the object's pixels with it"""
    contours: tuple[np.ndarray, ...]
    """int [k, 2] each: x, y of border pixels"""


def as_float(values: np.ndarray) -> np.ndarray:
    """float32 0..1 of a map in either form."""
    return values.astype(np.float32) / np.float32(255) if values.dtype == np.uint8 else values.astype(np.float32)


def ellipse(side: int) -> np.ndarray:
    """uint8 [side, side]: the published elliptic kernel; of even sides it reaches one pixel further up and left."""
    centre = side // 2
    kernel = np.zeros((side, side), np.uint8)
    for row in range(side):
        dy = row - centre
        reach = round(centre * np.sqrt((centre**2 - dy**2) / centre**2)) if centre else 0
        kernel[row, max(0, centre - reach) : centre + reach + 1] = 1
    return kernel


def foreground(inner: np.ndarray, contour: np.ndarray, sure: float) -> np.ndarray:
    """bool: surely inner and not contour."""
    rim = (as_float(contour) > CONTOUR_SURE).astype(np.float32)
    return as_float(inner) - rim > np.float32(sure)


def without_small(mask: np.ndarray, smallest_px: int) -> np.ndarray:
    """int32 labels 1.. in reading order of the 4-connected components that have at least that many pixels."""
    labels, n = kernels.parts(mask.astype(np.uint8))
    keep = kernels.boxes(labels, n)[:, 4] >= smallest_px
    return (np.cumsum(keep) * keep).astype(np.int32)[labels]


def filled(mask: np.ndarray) -> np.ndarray:
    """bool: with the 4-connected background parts that do not reach the border filled."""
    outside = np.pad((~mask).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(outside, None, (0, 0), 2, flags=4)
    return outside[1:-1, 1:-1] != 2


def decode_glands(inner: np.ndarray, contour: np.ndarray, ds: float = 1.0, *, published: bool = False) -> np.ndarray:
    """int32 gland map; `published` also repeats the fault that glands near the image's border do not grow there."""
    labels = without_small(foreground(inner, contour, GLAND_SURE), int(GLAND_SMALLEST_PX * ds * ds))
    return grown(labels, int(GLAND_KERNEL_PX * ds), published)


def decode_lumina(inner: np.ndarray, contour: np.ndarray, ds: float = 1.0, *, published: bool = False) -> np.ndarray:
    """int32 lumen map; `published` as for glands."""
    labels = without_small(foreground(inner, contour, LUMEN_SURE), int(LUMEN_SMALLEST_PX * ds * ds))
    return grown(labels, int(LUMEN_KERNEL_PX * ds), published)


def inside_glands(lumina: np.ndarray, glands: np.ndarray) -> np.ndarray:
    """int32: the lumen map where there is a gland."""
    return np.where(glands > 0, lumina, 0).astype(np.int32)


def grown(labels: np.ndarray, side: int, published: bool) -> np.ndarray:
    """Each label dilated once and its holes filled, later labels over earlier ones.

    Work is done in the labels' boxes, so its cost is the boxes' area, not labels times map.
    """
    out = np.zeros_like(labels)
    n = int(labels.max(initial=0))
    kernel = ellipse(side)
    for number, (top, left, bottom, right, count) in enumerate(kernels.boxes(labels, n).tolist()):
        if number == 0 or count == 0:
            continue
        rows, columns = enlarged((top, left, bottom, right), 2 * side, labels.shape, published)
        part = (labels[rows, columns] == number).astype(np.uint8)
        whole = filled(cv2.dilate(part, kernel, anchor=(side // 2, side // 2)) > 0)
        out[rows, columns][whole] = number
    return out


def enlarged(box: tuple[int, int, int, int], by: int, shape: tuple[int, ...], published: bool) -> tuple[slice, slice]:
    """Rows and columns of a box (row0, column0, row1, column1) grown by that many pixels inside the image.

    As published a side that would leave the image is not moved at all, which cuts the growth off there.
    """
    top, left, bottom, right = box
    height, width = shape
    if not published:
        return slice(max(0, top - by), min(height, bottom + by)), slice(max(0, left - by), min(width, right + by))
    top = top - by if top - by >= 0 else top
    left = left - by if left - by >= 0 else left
    bottom = bottom + by if bottom + by <= height - 1 else bottom
    right = right + by if right + by <= width - 1 else right
    return slice(top, bottom), slice(left, right)


def decode_nuclei(inner: np.ndarray, contour: np.ndarray) -> np.ndarray:
    """int32 nucleus map: inner parts grown over inner and contour by a watershed of the inner probability."""
    sure = as_float(inner)
    mask = sure + as_float(contour) > np.float32(NUCLEUS_SURE)
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    eroded = cv2.erode(mask.astype(np.uint8), CROSS) > 0
    within = without_small(eroded, NUCLEUS_SMALLEST_PX) > 0
    hearts = filled(without_small(sure > np.float32(NUCLEUS_SURE), MARKER_SMALLEST_PX) > 0)
    markers, _ = kernels.parts(hearts.astype(np.uint8))
    return kernels.flood(np.ascontiguousarray(-sure), markers, np.ascontiguousarray(within))


def instance_table(labels: np.ndarray, types: np.ndarray | None = None, ds: float = 1.0) -> InstanceTable:
    """The objects of a label map, those without an area dropped as published (fewer than three contour points)."""
    n = int(labels.max(initial=0))
    box = kernels.boxes(labels, n)
    ids = np.flatnonzero(box[:, 4] > 0)
    ids = ids[ids > 0]
    contours = [contour_of(labels, int(i), box[i]) for i in ids]
    keep = np.array([len(c) >= 3 for c in contours], bool)
    ids, contours = ids[keep], [c for c, kept in zip(contours, keep, strict=True) if kept]
    place, votes = kernels.tally(labels, _types(labels, types), n, 256 if types is not None else 1)
    kind, share = majority(votes[ids], box[ids, 4])
    return InstanceTable(
        ids=ids,
        box=_at_full_size(box[ids][:, [1, 0, 3, 2]], ds),
        centroid=_at_full_size(place[ids] / np.maximum(box[ids, 4:], 1), ds),
        kind=kind,
        kind_share=share,
        contours=tuple(_at_full_size(c, ds) for c in contours),
    )


def contour_of(labels: np.ndarray, number: int, box: np.ndarray) -> np.ndarray:
    """int64 [k, 2]: the first outer contour of a label, its straight runs shortened; x, y of border pixels."""
    top, left, bottom, right = (int(edge) for edge in box[:4])
    part = (labels[top:bottom, left:right] == number).astype(np.uint8)
    found, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return found[0].reshape(-1, 2).astype(np.int64) + np.array([left, top])


def majority(votes: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per row of votes [n, id]: the id with most, if that is 0 the best other that has any; and its share of area."""
    kind = votes.argmax(axis=1) if len(votes) else np.zeros(0, np.int64)
    if votes.shape[1] > 1 and len(votes):
        second = votes[:, 1:].argmax(axis=1) + 1
        kind = np.where((kind == 0) & (votes[:, 1:].max(axis=1) > 0), second, kind)
    return kind, votes[np.arange(len(kind)), kind] / (area + 1e-6)


def objects_of(
    labels: np.ndarray, inner: np.ndarray, types: np.ndarray | None, frame: Frame, classes: int = 0
) -> Objects:
    """The objects of a label map in pixels of the array: score the mean inner probability, p the votes of types.

    `types` are ids, 0 none; p of class c is the share of the object's pixels with id c + 1, so the largest p is
    the published type with its second choice.
    """
    short = consecutive(labels)
    score = np.ascontiguousarray(as_bytes(inner)[..., None])
    return decoding.objects_from_labels(
        short, score=score, classes=None if types is None else votes_map(types, classes), frame=frame
    )


def consecutive(labels: np.ndarray) -> np.ndarray:
    """int32: the 4-connected parts of the labels, numbered 1.. in the order of labels.

    Lumina cut by their gland can be in parts; all later steps take connected objects.
    """
    parts, count = kernels.parts(np.ascontiguousarray(labels, dtype=np.int32))
    owner = np.zeros(count + 1, np.int64)
    owner[parts.ravel()] = labels.ravel()
    order = np.argsort(owner[1:], kind="stable")
    table = np.zeros(count + 1, np.int32)
    table[order + 1] = np.arange(1, count + 1)
    return table[parts]


def votes_map(types: np.ndarray, classes: int) -> np.ndarray:
    """uint8 [y, x, class]: 255 where the type id is the class's number + 1."""
    return ((types[..., None] == np.arange(1, classes + 1)) * np.uint8(255)).astype(np.uint8)


def as_bytes(values: np.ndarray) -> np.ndarray:
    """uint8 0..255 of a map in either form."""
    return values if values.dtype == np.uint8 else np.round(values * np.float32(255)).astype(np.uint8)


def _types(labels: np.ndarray, types: np.ndarray | None) -> np.ndarray:
    return np.zeros(labels.shape, np.uint8) if types is None else types


def _at_full_size(values: np.ndarray, ds: float) -> np.ndarray:
    return values if ds == 1 else np.rint(values / ds).astype(np.int64)
