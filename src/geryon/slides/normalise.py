"""Stain normalisation of a slide: estimated once from samples of its tissue, then one change for every pixel.

Windows and tiles play no part in it, so they change nothing. Where it can't be estimated the slide stays as it is, and
the reason is told: a blank, grey or damaged slide is no failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geryon import plugins
from geryon.errors import InputError, UsageError
from geryon.slides.reader import Slide
from geryon.slides.stains import densities_of_bytes, is_stained
from geryon.slides.tissue import LowPower, TissueMask, glass_colour
from geryon.space import units
from geryon.space.arrays import Image
from geryon.space.boxes import Box

NORMALISERS = {
    "macenko": "geryon.slides.macenko:MACENKO",
    "reinhard": "geryon.slides.reinhard:REINHARD",
}
"""Entry points of the group geryon.normalisers add to it."""
GROUP = "geryon.normalisers"
SAMPLE_MPP = 1.0
"""Nuclei and stroma are apart, and all of a slide's samples are read in a second or two."""
SAMPLE_UM = 256.0
"""Side of a sample."""
MAX_SAMPLES = 48
"""Evenly through the slide's tissue: three square millimetres."""
LEAST_PIXELS = 1000
"""Fewer pixels with stain say too little about it."""
MOST_GAIN = 6.0
"""What is this many times stronger or weaker than the target is no H&E that could be made like it."""


class Unfit(Exception):
    """Pixels that a method can't use; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normaliser:
    """One method."""

    of: Callable[[np.ndarray, np.ndarray], Callable[[Image], Image]]
    """Pixels of tissue (uint8 [n, 3]) and the glass (float64 [3]) to the change, which has `facts`; or Unfit."""
    target: Mapping[str, Any]
    """What a slide is made like, for the digest of the question and run.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """What becomes of a slide's pixels."""

    method: str = ""
    """In NORMALISERS; "" where none was asked."""
    change: Callable[[Image], Image] | None = None
    """Of uint8 [y, x, 3]; None where pixels stay as they are."""
    reason: str = ""
    """Why they stay although a method was asked."""

    def __call__(self, image: Image) -> Image:
        return image if self.change is None else self.change(image)

    @property
    def record(self) -> dict[str, Any]:
        """For run.json; empty where no method was asked."""
        if not self.method:
            return {}
        facts = getattr(self.change, "facts", {})
        return {"method": self.method, "applied": self.change is not None, "reason": self.reason, "slide": facts}

    @property
    def warning(self) -> str:
        """What there is to warn about; "" where there is nothing."""
        return f"its stain is not normalised: {self.reason}" if self.reason else ""


def get_normaliser(name: str) -> Normaliser:
    """The method of that name, ours or another package's."""
    known = plugins.names(NORMALISERS, GROUP)
    if name not in known:
        raise UsageError(what=f"no normalisation is called {name!r}", mend=f"choose from: {', '.join(known)}")
    found: Normaliser = plugins.find(NORMALISERS, GROUP, name)
    return found


def normalised(slide: Slide, tissue: TissueMask, seen: LowPower, method: str) -> Normalised:
    """The change of a slide by the method of that name ("": none), from samples of its tissue."""
    if not method:
        return Normalised()
    pixels = sample_of(slide, tissue)
    return of_pixels(pixels, glass_of(seen.image, pixels), method)


def of_pixels(pixels: np.ndarray, glass: np.ndarray, method: str) -> Normalised:
    """The same from pixels of tissue (uint8 [n, 3]) and the colour of the glass."""
    try:
        if not len(pixels):
            raise Unfit("no tissue was found")
        return Normalised(method=method, change=get_normaliser(method).of(pixels, glass))
    except (Unfit, np.linalg.LinAlgError) as error:
        return Normalised(method=method, reason=str(error))


def stained(pixels: np.ndarray, glass: np.ndarray) -> np.ndarray:
    """float64 [n, 3]: natural optical density of those of the pixels (uint8 [n, 3]) that are stained; Unfit if few."""
    density = densities_of_bytes(glass).astype(np.float64)[pixels, np.arange(3)]
    density = density[is_stained(density)]
    if len(density) < LEAST_PIXELS:
        raise Unfit(f"too little stained tissue: {len(density)} pixels were found, {LEAST_PIXELS} are needed")
    return density


def sample_of(slide: Slide, tissue: TissueMask) -> np.ndarray:
    """uint8 [n, 3]: pixels of squares that are at least half tissue, spread evenly, in the slide's order."""
    mpp = slide.grid_mpp(SAMPLE_MPP) if max(slide.mpp) <= SAMPLE_MPP else max(slide.mpp)
    cells = max(1, round(units.px(SAMPLE_UM, tissue.mpp)))
    frame, side = slide.frame.at(mpp), units.px(units.um(cells, tissue.mpp), mpp)
    places = _squares(tissue, cells)
    chosen = places[np.unique(np.linspace(0, len(places) - 1, min(len(places), MAX_SAMPLES)).round().astype(int))]
    found = []
    for row, column in chosen:
        x, y = column * side, row * side
        box = Box(frame, x, y, x + side, y + side).meet(frame.box).whole()
        try:
            found.append(slide.read(box, mpp).reshape(-1, 3))
        except InputError:
            continue  # a damaged place is told when its window is read
    return np.concatenate(found) if found else np.zeros((0, 3), np.uint8)


def _squares(tissue: TissueMask, side: int) -> np.ndarray:
    """int [n, 2]: row and column of the squares of so many cells that hold enough tissue, row by row.

    All of them where the mask is empty: it needs glass to find tissue, and a field may have none.
    """
    rows, columns = -(-tissue.mask.shape[0] // side), -(-tissue.mask.shape[1] // side)
    padded = np.zeros((rows * side, columns * side), np.float32)
    padded[: tissue.mask.shape[0], : tissue.mask.shape[1]] = tissue.mask
    share = padded.reshape(rows, side, columns, side).mean(axis=(1, 3))
    return np.argwhere(share >= min(0.5, share.max() / 2))


def glass_of(low_power: Image, pixels: np.ndarray) -> np.ndarray:
    """float64 [3]: the glass of a slide; of a field without any, its brightest pixels."""
    brightest = np.percentile(pixels, 99, axis=0) if len(pixels) else np.zeros(3)
    glass: np.ndarray = np.clip(np.maximum(glass_colour(low_power), brightest), 200.0, 255.0)
    return glass
