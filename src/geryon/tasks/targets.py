"""From labels to what the network should say: parts that several tasks share."""

from __future__ import annotations

import cv2
import numpy as np

from geryon.tasks.task import ClassTree, Labelled


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


def class_target(objects: np.ndarray, classes: dict[int, str], tree: ClassTree) -> tuple[np.ndarray, np.ndarray]:
    """Multi-hot float32 [y, x, leaf] and weight float32 [y, x] of objects (int32 [y, x]) with known classes.

    A class above the leaves sets every leaf below it; objects of unknown or foreign class weigh nothing.
    """
    table = np.zeros((int(objects.max(initial=0)) + 1, len(tree.leaves)), np.float32)
    for number, name in classes.items():
        if 0 < number < len(table):
            table[number, list(tree.below(name))] = 1.0
    target = table[objects]
    return target, (target.sum(axis=2) > 0).astype(np.float32)


def coarser(labels: np.ndarray, factor: int) -> np.ndarray:
    """int32 [y / factor, x / factor]: the largest id of each square, so that thin objects stay."""
    if factor == 1:
        return labels
    height, width = (n - n % factor for n in labels.shape)
    squares = labels[:height, :width].reshape(height // factor, factor, width // factor, factor)
    return squares.max(axis=(1, 3))
