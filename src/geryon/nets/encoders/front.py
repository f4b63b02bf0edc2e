"""Means of pixels before a network: what the papers' encoders begin with."""

from __future__ import annotations

import cv2
import numpy as np


def pooled(images: np.ndarray, size: int) -> np.ndarray:
    """Means of size x size pixels: uint8 [n, y, x, 3] to float32 [n, y / size, x / size, 3], 0..255.

    All images as one tall one, which changes nothing since their sides are multiples of `size`. As floats: means of
    bytes rounded to bytes move codes by 0.02 (the original's own slides have that).
    """
    n, height, width, channels = images.shape
    tall = images.reshape(n * height, width, channels).astype(np.float32)
    small = cv2.resize(tall, (width // size, n * height // size), interpolation=cv2.INTER_AREA)
    return small.reshape(n, height // size, width // size, channels)


def images_of(patches: np.ndarray, pool: int) -> np.ndarray:
    """What a network that is ready takes: the patches, or float32 means of `pool` x `pool` of their pixels."""
    return np.ascontiguousarray(patches) if pool == 1 else pooled(np.ascontiguousarray(patches), pool)
