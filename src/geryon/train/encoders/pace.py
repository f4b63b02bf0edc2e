"""The learning rate of an encoder's step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from geryon.train.encoders.recipe import PLATEAU, EncoderSettings
from geryon.train.step import rate


def rate_at(step: int, part: float, judged: Sequence[float], settings: EncoderSettings) -> float:
    """The rate at a step, where `part` of the run is over and `judged` are the figures of its validations so far."""
    if settings.schedule != PLATEAU:
        return rate(step, part, settings.loop())
    rising = min(1.0, max(part, 0.5 / settings.steps) / settings.warmup) if settings.warmup else 1.0
    return settings.lr * rising * plateau_part(judged, settings)


def plateau_part(judged: Sequence[float], settings: EncoderSettings) -> float:
    """What is left of the highest rate: cut by `factor` after each `patience` figures that were no better.

    The protocol of Tellez et al. (TPAMI 2019, appendix): 1e-2, divided by ten whenever validation stops rising, down
    to 1e-5. How long that is the paper does not say. A figure that is not finite is no better.
    """
    part, best, since = 1.0, -math.inf, 0
    for value in judged:
        if value > best:
            best, since = value, 0
        else:
            since += 1
        if since == settings.patience:
            part, since = max(part * settings.factor, settings.lr_floor), 0
    return part
