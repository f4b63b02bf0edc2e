"""What a compression may be told beside the slide and the encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from geryon.errors import UsageError
from geryon.flows.question import Question, digest_of, normalisation
from geryon.nets.encoder import Encoder
from geryon.slides.identity import fingerprint
from geryon.slides.normalise import get_normaliser
from geryon.space import units
from geryon.store.features import DTYPES

LEAST_TISSUE = 0.05
"""docs/compress.md has what other shares lose and cost."""
LEGACY_LEAST_TISSUE = 0.6
"""Of the published code."""
ORIENTATIONS = {"one": 1, "mean": 8, "eight": 8}
"""How the eight turns of a patch are used: not at all, as the mean of their codes, or each with its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressOptions:
    """Settings of a compression; UsageError names all that can't be."""

    mpp: float | None = None
    """µm per pixel of the slide, where the file is silent or wrong."""
    mask: Path | None = None
    """The user's own tissue mask, any scale."""
    use_mask: bool | None = None
    """Whether the built-in mask is used; None: on slides of 4 mm² and more."""
    least_tissue: float | None = None
    """A cell is encoded when more than this share of its patch is tissue; None: 0.05, and 0.6 where `is_legacy`."""
    patch: str = ""
    """Side of what the encoder sees as one patch, such as "64um" or "128px" (pixels of its own µm/px); "": its own.
    A larger one is shown with larger pixels."""
    stride: str = ""
    """From one cell to the next, in µm, or in pixels of what the encoder sees; "": the patch. Of a model's own
    encoder it is the cell's side as well."""
    turns: str = "one"
    """A name in ORIENTATIONS."""
    dtype: str = "float16"
    """How codes are kept: float16, or int8 with one scale a cell."""
    engine: str = "auto"
    """Where the encoder runs."""
    allow_upsampling: bool = False
    """Whether pixels finer than the slide's may be made up for the encoder."""
    is_legacy: bool = False
    """Whether patches are averaged, and cells chosen, as the published code does it (docs/compress.md)."""

    windows: tuple[int, int] | None = None
    """Core and halo in pixels of the windows that a model's own encoder sees; None: the model's default ones."""
    normalise: str = ""
    """How the slide's stain is made like that of training images first: a name in slides.normalise.NORMALISERS, "" for
    not at all."""

    def __post_init__(self) -> None:
        faults = [f"{name} {text!r}" for name, text in self._lengths() if text and not _is_length(text)]
        if self.turns not in ORIENTATIONS:
            faults.append(f"turns {self.turns!r} (there are {', '.join(ORIENTATIONS)})")
        if self.dtype not in DTYPES:
            faults.append(f"dtype {self.dtype!r} (there are {', '.join(DTYPES)})")
        if not 0 <= self.least_share < 1:
            faults.append(f"least tissue {self.least_tissue:g} (a share from 0 to below 1)")
        if faults:
            mend = "lengths are such as 64um or 128px; docs/compress.md has all settings"
            raise UsageError(what=f"there is no {', and no '.join(faults)}", mend=mend)
        if self.normalise:
            get_normaliser(self.normalise)

    @property
    def least_share(self) -> float:
        """The share of tissue that a cell must pass."""
        default = LEGACY_LEAST_TISSUE if self.is_legacy else LEAST_TISSUE
        return default if self.least_tissue is None else self.least_tissue

    @property
    def uses_mask(self) -> bool | None:
        """Whether the built-in mask is used; the published code has none."""
        return False if self.is_legacy and self.use_mask is None else self.use_mask

    @property
    def drops_glass(self) -> bool:
        """Whether the published rule of brightness stands for a mask."""
        return self.is_legacy and self.mask is None and not self.uses_mask

    def mpp_for(self, net: Encoder) -> float:
        """µm per pixel of what the encoder is to see."""
        if not self.patch:
            return net.mpp
        asked = units.length_um(self.patch, net.mpp) / net.patch_px
        return net.mpp if math.isclose(asked, net.mpp) else asked

    def stride_px(self, net: Encoder, mpp: float) -> int:
        """The stride in whole pixels of `mpp` µm; of a model's own encoder in as many as are asked of what it sees, as
        its patch is, since its cells are steps of the network on any slide's grid."""
        if not self.stride:
            return net.patch_px
        of = self.mpp_for(net) if net.model else mpp
        return max(1, round(units.px(units.length_um(self.stride, of), of)))

    def patch_px(self, net: Encoder, mpp: float) -> int:
        """Side of a cell's patch in pixels of `mpp` µm: a model's own encoder takes means over the cells themselves."""
        return self.stride_px(net, mpp) if net.model else net.patch_px

    def question(self, net: Encoder, mpp: float, *, is_made_up: bool) -> Question:
        """What the codes depend on, beside the slide and the encoder's weights.

        By what is used and not by how it was asked: pixels of `mpp` µm, made up from coarser ones where `is_made_up`.
        """
        stride_px = self.stride_px(net, mpp)
        cells = {
            # As volumes have it that were asked by the defaults, or by a stride in pixels.
            "patches": [self.mpp_for(net), "" if stride_px == net.patch_px else f"{stride_px}px", is_made_up],
            "mask": [self.uses_mask, fingerprint(self.mask), self.least_share],
            "turns": self.turns,
            "kind of numbers": self.dtype,
            "rule (--legacy)": self.is_legacy,
        }
        return {name: digest_of(value) for name, value in cells.items()} | dict(normalisation(self.normalise))

    def _lengths(self) -> tuple[tuple[str, str], ...]:
        return ("patch", self.patch), ("stride", self.stride)


def _is_length(text: str) -> bool:
    try:
        units.length_um(text, 1.0)
    except ValueError:
        return False
    return True
