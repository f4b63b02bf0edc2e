"""Bright places inside true glands: a stand-in for lumina where nobody has drawn any."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from geryon.space import units
from geryon.tasks import decoding, metrics
from geryon.tasks.task import Task
from geryon.train.scoring import Piece, on_grid, stratum_of

BRIGHT = 200
PALE = 40
SMOOTH_UM = 3.0
SMALLEST_UM2 = 200.0


def bright_piece(prediction: Any, case: Any, lumina: Task, image: np.ndarray) -> Piece | None:
    """Found lumina against bright places, both within true glands; None without outlined glands."""
    labelled = case.labels["glands"]() if "glands" in case.labels else None
    if labelled is None or labelled.objects is None:
        return None
    glands = labelled.objects > 0
    size = (glands.shape[1], glands.shape[0])
    objects, scale = on_grid(prediction.objects["lumina"], glands.shape, image.shape[:2])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if image.shape[:2] != glands.shape else image
    truth = bright_places(small, glands, case.mpp / scale)
    found = np.where(glands, decoding.labels_of(objects, glands.shape), 0).astype(np.int32)
    return Piece(
        task=lumina,
        kind="bright",
        group=str(case.group),
        tally=metrics.tally(found, truth),
        mpp=case.mpp / scale,
        stratum=stratum_of(case),
    )


def bright_places(image: np.ndarray, glands: np.ndarray, mpp: float) -> np.ndarray:
    """int32 [y, x]: glass-like places inside glands (bool [y, x]), each with its number.

    After a Gaussian of SMOOTH_UM a pixel counts whose mean of R, G, B is at least BRIGHT and whose largest and
    smallest differ by at most PALE, in connected places of at least SMALLEST_UM2. Pale mucin can pass.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), units.px(SMOOTH_UM, mpp) / 2).astype(np.float32)
    pale = (smooth.mean(axis=2) >= BRIGHT) & (smooth.max(axis=2) - smooth.min(axis=2) <= PALE) & glands
    labels, n = decoding.components(pale)
    keep = np.bincount(labels.ravel(), minlength=n + 1) >= units.area_px(SMALLEST_UM2, mpp, mpp)
    keep[0] = False
    return np.where(keep, np.arange(n + 1), 0).astype(np.int32)[labels]
