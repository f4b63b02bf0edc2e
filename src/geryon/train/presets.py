"""Named augmentation: the ladder of Tellez et al. (Med Image Anal 58, 2019) and what Cerberus was trained with.

A step of the ladder holds all steps before it; the steps of stain (hed) stand on brightness and contrast, not on those
of hue, which are their rivals. Quarter turns and mirroring are in every draw. Magnitudes of the ladder are as told in
later descriptions of that paper, the stains' formula and their cut-off as in its group's public code.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from geryon.train.augment_settings import AugmentSettings
from geryon.train.faults import nearest

OFF = AugmentSettings(
    zoom=0,
    warp_chance=0,
    stain=0,
    stain_shift=0,
    brightness=0,
    white_balance=0,
    contrast=0,
    saturation=0,
    hue_degrees=0,
    colour_chance=0,
    blur_chance=0,
    noise_chance=0,
    jpeg_chance=0,
    coarser_chance=0,
)
"""Nothing changes, and no colour does where the colours' chance alone is raised."""
MORPHOLOGY = replace(OFF, warp_chance=1, zoom=0.2, bend=100.0, noise_chance=1, noise=25.5, blur_chance=1, blur_px=0.1)
BC = replace(MORPHOLOGY, colour_chance=1, brightness=0.35, contrast=0.5)
BAND = 0.15, 0.85
CERBERUS = replace(
    OFF,
    warp_chance=1,
    stretch=0.1,
    turn_degrees=179.0,
    shear_degrees=5.0,
    blur_chance=2 / 3,
    blur_px=1.1,
    noise_chance=1 / 3,
    noise=12.75,
    colour_chance=0.9,
    brightness=0.1,
    contrast=0.25,
    saturation=0.2,
    hue_degrees=16.0,
)
"""Graham et al., Med Image Anal 83 (2023), as in the code that its authors withdrew, with what differs here.

Blur, median and noise were one of three and are drawn apart (the median as a blur; a Gaussian of 5 pixels has a
deviation of 1.1). Colours changed in random order, brightness by up to 26 of 255; contrast was meant and did nothing.
"""

PRESETS = {
    "default": AugmentSettings(),
    "basic": OFF,
    "morphology": MORPHOLOGY,
    "bc": BC,
    "hsv-light": replace(BC, hsv=0.1),
    "hsv-strong": replace(BC, hsv=1.0),
    "hed-light": replace(BC, stain=0.05, stain_shift=0.05, stain_between=BAND),
    "hed-strong": replace(BC, stain=0.2, stain_shift=0.2, stain_between=BAND),
    "cerberus": CERBERUS,
}
"""What a recipe may write as `train.augment.preset`; the settings beside it change that preset."""


def fill_preset(raw: Any) -> list[str]:
    """Put the settings of `train.augment.preset` under those that stand beside it; what is wrong with its name.

    `raw` is the document of a recipe as read, which may have any faults; it is changed.
    """
    train = raw.get("train") if isinstance(raw, dict) else None
    given = train.get("augment") if isinstance(train, dict) else None
    if not isinstance(train, dict) or not isinstance(given, dict) or "preset" not in given:
        return []
    name = given.pop("preset")
    if not isinstance(name, str) or name not in PRESETS:
        others = nearest(str(name), PRESETS) or f" (there are: {', '.join(PRESETS)})"
        return [f"train.augment.preset: no preset is called {name!r}{others}"]
    train["augment"] = {**asdict(PRESETS[name]), **given}
    return []
