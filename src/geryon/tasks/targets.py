"""From labels to what the network should say: parts that several tasks share."""

from __future__ import annotations

import cv2
import numpy as np

from geryon.tasks.task import ClassTree, Labelled

MAY_BE, NOT_KNOWN = 1.0, 0.5
"""In the target of a class map: what the label allows, and what its source can't tell (0: what it rules out)."""
REACH_PX, FAR_PX = 10, 1000.0
"""Of border weights: how far around an object's box its distance is known, and what stands beyond."""


def rim_distance(objects: np.ndarray) -> np.ndarray:
    """float32 [y, x]: distance in pixels to the nearest pixel of another object or background, 0 outside.

    The border of the image is no rim: objects go on behind it.
    """
    touching = np.zeros(objects.shape, bool)
    for axis in (0, 1):
        a = [slice(None), slice(None)]
        b = [slice(None), slice(None)]
        a[axis], b[axis] = slice(None, -1), slice(1, None)
        first, second = objects[tuple(a)], objects[tuple(b)]
        differ = (first != second) & (first > 0) & (second > 0)
        touching[tuple(a)] |= differ
        touching[tuple(b)] |= differ
    inside = ((objects > 0) & ~touching).astype(np.uint8)
    if inside.all():
        return np.full(objects.shape, float(max(objects.shape)), np.float32)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance[touching] = 0.5
    return distance


def normalised_rim_distance(objects: np.ndarray) -> np.ndarray:
    """float32 [y, x]: rim distance divided by its largest value in the object; 1 at the heart, 0 outside."""
    distance = rim_distance(objects)
    largest = np.zeros(int(objects.max(initial=0)) + 1, np.float32)
    np.maximum.at(largest, objects.ravel(), distance.ravel())
    largest[0] = 1.0
    return np.where(objects > 0, distance / np.maximum(largest[objects], 1e-6), 0.0).astype(np.float32)


def known_weight(labelled: Labelled, shape: tuple[int, int]) -> np.ndarray:
    """float32 [y, x]: 1 where the labels are the whole truth, 0 elsewhere."""
    return np.ones(shape, np.float32) if labelled.known is None else labelled.known.astype(np.float32)


def class_target(objects: np.ndarray, labelled: Labelled, tree: ClassTree) -> tuple[np.ndarray, np.ndarray]:
    """Multi-hot float32 [y, x, leaf] and weight float32 [y, x] of objects (int32 [y, x]) with known classes.

    A class above the leaves sets every leaf below it; objects of unknown or foreign class weigh nothing.
    """
    table = np.zeros((int(objects.max(initial=0)) + 1, len(tree.leaves)), np.float32)
    for number, name in (labelled.classes or {}).items():
        if 0 < number < len(table):
            table[number] = class_row(name, labelled, tree)
    target = table[objects]
    return target, (target.max(axis=2) == MAY_BE).astype(np.float32)


def class_row(name: str, labelled: Labelled, tree: ClassTree) -> np.ndarray:
    """float32 [leaf]: 1 for leaves that the label `name` stands for, 1/2 for those its source does not know, else 0.

    All 0 for a label that is none of the tree's.
    """
    row = np.zeros(len(tree.leaves), np.float32)
    below = list(tree.below(name))
    if below and labelled.classes_known:
        known = {i for each in labelled.classes_known for i in tree.below(each)}
        row[[i for i in range(len(row)) if i not in known]] = NOT_KNOWN
    row[below] = MAY_BE
    return row


def border_weight(inner: np.ndarray, width_px: float) -> np.ndarray:
    """float32 [y, x]: up to 11 between objects that nearly touch, 1 inside them (bool `inner`) and far away.

    1 + 10 exp(-((d1 + d2) / width)^2 / 2) with the distances to the two nearest objects (U-Net, Ronneberger et al.,
    MICCAI 2015, eq. 2), as Cerberus has it: objects are the 4-connected parts, distances beyond REACH_PX of an
    object's box are not looked at. Work is done in the boxes.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inner.astype(np.uint8), connectivity=4)
    if count <= 2:
        return np.ones(inner.shape, np.float32)
    nearest = np.full((2, *inner.shape), FAR_PX, np.float32)
    for number in range(1, count):
        left, top, width, height = stats[number, :4].tolist()
        rows = slice(max(0, top - REACH_PX), top + height + REACH_PX)
        columns = slice(max(0, left - REACH_PX), left + width + REACH_PX)
        outside = (labels[rows, columns] != number).astype(np.uint8)
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        first, second = nearest[:, rows, columns]
        second[:] = np.minimum(np.maximum(first, distance), second)
        first[:] = np.minimum(first, distance)
    weight = 1.0 + 10.0 * np.exp(-np.square(nearest.sum(axis=0) / width_px) / 2.0)
    return np.where(inner, 1.0, weight).astype(np.float32)


def coarser(labels: np.ndarray, factor: int) -> np.ndarray:
    """int32 [y / factor, x / factor]: the largest id of each square, so that thin objects stay."""
    if factor == 1:
        return labels
    height, width = (n - n % factor for n in labels.shape)
    squares = labels[:height, :width].reshape(height // factor, factor, width // factor, factor)
    return squares.max(axis=(1, 3))
