"""What a synthetic slide holds, from its layout: exact, and without painting a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from shapely.geometry import Polygon, box

from geryon.slides.synthetic.glands import Gland, glands_of, groups_of
from geryon.slides.synthetic.layout import BACKGROUND, TISSUES
from geryon.slides.synthetic.slide import SyntheticSlide

TISSUE_MPP = 8.0
"""Tissue is counted in squares of it; outlines are exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Areas inside the slide's edges, and how many cells have their middle there."""

    tissue_mm2: float
    glands_mm2: float
    malignant_mm2: float
    """Of the filled outlines of malignant glands."""
    cribriform_mm2: float
    """Of these, the ones of the higher grade."""
    signet_rings: int

    @property
    def lesion_share(self) -> float:
        """Malignant share of the glandular area."""
        return self.malignant_mm2 / self.glands_mm2 if self.glands_mm2 else 0.0

    @property
    def grade(self) -> int:
        """0 without malignant glands, else 1 to 3 by thirds of the share that is cribriform."""
        if not self.malignant_mm2:
            return 0
        return 1 + min(2, int(3 * self.cribriform_mm2 / self.malignant_mm2))

    @property
    def density_mm2(self) -> float:
        """Signet ring cells a mm² of tissue."""
        return self.signet_rings / self.tissue_mm2 if self.tissue_mm2 else 0.0


def measured(slide: SyntheticSlide) -> Measured:
    """The areas and counts of a slide."""
    edges = box(0.0, 0.0, slide.width_px * slide.mpp, slide.height_px * slide.mpp)
    area: dict[tuple[bool, bool], float] = {}
    for gland in _glands(slide):
        of = gland.malignant, gland.cribriform
        area[of] = area.get(of, 0.0) + float(Polygon(gland.outline).intersection(edges).area) / 1e6
    rings = slide.objects("signet_ring", slide.frame.box)
    middles = np.array([outline.mean(axis=0) for outline in rings.outlines]).reshape(-1, 2)
    inside = (middles >= 0).all(axis=1) & (middles < [slide.width_px, slide.height_px]).all(axis=1)
    malignant = sum(v for (bad, _), v in area.items() if bad)
    return Measured(
        tissue_mm2=_tissue_mm2(slide),
        glands_mm2=sum(area.values()),
        malignant_mm2=malignant,
        cribriform_mm2=area.get((True, True), 0.0),
        signet_rings=int(np.count_nonzero(inside)),
    )


def lesion_raster(slide: SyntheticSlide, mpp: float) -> np.ndarray:
    """bool [y, x]: where a pixel's centre lies in tumour, in squares of `mpp` µm from the slide's top left."""
    true = slide.truth("tissue", slide.frame.at(mpp).box.whole(), mpp)
    assert true.raster is not None
    return np.asarray(true.raster == TISSUES.index("tumour") + 1)


def _glands(slide: SyntheticSlide) -> Iterator[Gland]:
    for row, column in groups_of(0.0, 0.0, slide.width_um, slide.height_um):
        yield from glands_of(slide.world, row, column)


def _tissue_mm2(slide: SyntheticSlide) -> float:
    true = slide.truth("tissue", slide.frame.at(TISSUE_MPP).box.whole(), TISSUE_MPP)
    assert true.raster is not None
    tissue = np.isin(true.raster, (0, BACKGROUND + 1), invert=True)
    return float(np.count_nonzero(tissue)) * TISSUE_MPP**2 / 1e6
