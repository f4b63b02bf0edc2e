"""A cohort of synthetic slides: what each patient has, and how long each lives, all drawn by number from one seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from geryon.slides.synthetic.measured import Measured
from geryon.slides.synthetic.slide import SyntheticSlide

MOST_SLIDES = 3
"""Of one patient; each has 1 to so many."""
HEALTHY, FREE_OF_RINGS = 0.2, 0.4
"""Shares of the patients without a lesion, and without signet ring cells."""
LARGEST = 0.85
"""Share of the specimen that the largest lesions take."""
RINGS = (0.02, 0.3)
"""Least and greatest `signet` of those who have signet ring cells."""
SPECIMEN = (0.5, 0.75)
"""Least and greatest share of the slide that the specimen takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Weibull times with proportional hazards (Cox, J R Stat Soc B 34, 1972); months."""

    shape: float = 1.4
    scale_months: float = 120.0
    """Of a patient whose covariates are all 0."""
    lesion_share: float = 2.0
    """Added to the logarithm of the hazard by a lesion share of 1 (mean over the patient's slides)."""
    grade: float = 0.3
    """By each grade (the highest of the slides)."""
    density: float = 0.01
    """By each signet ring cell a mm² (mean over the slides)."""
    censored_months: tuple[float, float] = (24.0, 120.0)
    """Follow-up ends evenly between them."""

    def log_hazard(self, slides: Sequence[Measured]) -> float:
        """What a patient's slides add to the logarithm of the baseline hazard."""
        return float(
            self.lesion_share * np.mean([each.lesion_share for each in slides])
            + self.grade * max(each.grade for each in slides)
            + self.density * np.mean([each.density_mm2 for each in slides])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One slide of the cohort before anything is measured."""

    number: int
    patient: int
    slide: SyntheticSlide


def members(count: int, *, size_um: tuple[float, float], mpp: float, seed: int) -> Iterator[Member]:
    """The first `count` slides: those of a shorter cohort are the same, but for the last patient's number of slides."""
    number = patient = 0
    while number < count:
        rng = np.random.default_rng([seed, 61, patient])
        many = int(rng.integers(1, MOST_SLIDES + 1))
        share = 0.0 if rng.random() < HEALTHY else LARGEST * rng.uniform(0.02, 1.0)
        signet = 0.0 if rng.random() < FREE_OF_RINGS else math.exp(rng.uniform(*np.log(RINGS)))
        cribriform = float(rng.uniform())
        for _ in range(many):
            own = int(rng.integers(1 << 31))
            place = rng.uniform(size=4)
            if number < count:
                specimen = (SPECIMEN[0] + (SPECIMEN[1] - SPECIMEN[0]) * place[3]) * size_um[0] * size_um[1]
                yield Member(
                    number=number,
                    patient=patient,
                    slide=SyntheticSlide(
                        width_um=size_um[0],
                        height_um=size_um[1],
                        seed=own,
                        mpp=mpp,
                        tissue_mm2=round(specimen / 1e6, 4),
                        lesion_um=_lesion(size_um, share * (0.5 + place[2]), specimen, place[:2]),
                        signet=round(signet, 4),
                        cribriform=round(cribriform, 4),
                    ),
                )
                number += 1
        patient += 1


def _lesion(
    size_um: tuple[float, float], share: float, specimen_um2: float, place: np.ndarray
) -> tuple[float, float, float]:
    """Middle and radius of a disc of that share of the specimen, its middle anywhere in the inner two thirds of it."""
    radius = math.sqrt(min(share, LARGEST) * specimen_um2 / math.pi)
    away, turn = math.sqrt(place[0]) * 0.65, 2 * math.pi * place[1]
    across = math.sqrt(specimen_um2 / math.pi)
    x, y = (side / 2 + away * across * f(turn) for side, f in zip(size_um, (math.cos, math.sin), strict=True))
    return round(x, 1), round(y, 1), round(radius, 1)


def survival(slides: Sequence[Measured], law: Law, *, seed: int, patient: int) -> tuple[float, bool]:
    """Months until death or the end of follow-up, and whether it was death, of the patient with those slides."""
    rng = np.random.default_rng([seed, 62, patient])
    chance, end = rng.uniform(), rng.uniform(*law.censored_months)
    died = law.scale_months * (-math.log1p(-chance) / math.exp(law.log_hazard(slides))) ** (1 / law.shape)
    return min(died, end), died <= end
