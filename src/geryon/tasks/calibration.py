"""Making stored probabilities mean what they say: temperatures that were fitted on images nobody learnt from.

Calibration changes how sure a model says it is, never what it found: outlines and classes stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from geryon.space.objects import Objects

TEMPERATURES = (0.05, 20.0)
"""Least and most; what asks for more is no temperature but a broken map."""
SHIFT = 20.0
"""Largest shift of a score's logit, either way."""
FLOOR = 0.5
"""Of 255: what a probability that is stored as 0 may have been."""

Found = TypeVar("Found", Objects, np.ndarray)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Of one task. Class probabilities: softmax(log p / temperature) (Guo et al., ICML 2017, section 4.2, applied to
    what an object or cell has as p). Scores: sigmoid(logit(score) / temperature + shift) (Platt, 1999), for no
    temperature alone can make a score of more than a half mean less than that."""

    class_temperature: float = 1.0
    score_temperature: float = 1.0
    score_shift: float = 0.0


def calibrated(found: Found, calibration: Calibration | None) -> Found:
    """The same objects, or raster uint8 [y, x, class], with calibrated probabilities; as they are where it is None."""
    if calibration is None:
        return found
    if isinstance(found, np.ndarray):
        return calibrated_p(found, calibration)
    return replace(found, score=score_table(calibration)[found.score], p=calibrated_p(found.p, calibration))


def score_table(calibration: Calibration) -> np.ndarray:
    """uint8 [256]: the calibrated score of each score; it never falls."""
    odds = logit(np.arange(256)) / calibration.score_temperature + calibration.score_shift
    return np.round(255.0 / (1.0 + np.exp(-odds))).astype(np.uint8)


def logit(levels: np.ndarray) -> np.ndarray:
    """float64: log odds of levels 0..255, the ends held off by half a level."""
    p = np.clip(levels, FLOOR, 255.0 - FLOOR) / 255.0
    return np.log(p / (1.0 - p))


def calibrated_p(p: np.ndarray, calibration: Calibration) -> np.ndarray:
    """uint8 [..., class]: probabilities with the temperature; the likeliest class, and zeros throughout, stay."""
    if calibration.class_temperature == 1.0 or p.shape[-1] == 0 or p.size == 0:
        return p
    weight = (np.maximum(np.arange(256), FLOOR) / 255.0) ** (1.0 / calibration.class_temperature)
    flat = p.reshape(-1, p.shape[-1])
    warm = weight[flat]
    out = np.round(255.0 * warm / warm.sum(axis=1, keepdims=True)).astype(np.uint8)
    out[~flat.any(axis=1)] = 0
    first = flat.argmax(axis=1)
    tied = np.flatnonzero(out.argmax(axis=1) != first)
    out[tied, first[tied]] = out[tied].max(axis=1) + 1
    return out.reshape(p.shape)
