"""What an encoder can learn from patches; each file has build(asked) -> Objective.

An Objective is a torch module with the encoder as `.encoder` and whatever is trained beside it, and `losses(seen)`: the
parts of what is minimised, by name. Adding one is a file and a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from geryon.train.encoders.patches import PatchTask

if TYPE_CHECKING:
    from torch import Tensor, nn

OBJECTIVES = {
    "bigan": "geryon.train.encoders.objectives.bigan:build",
    "contrastive": "geryon.train.encoders.objectives.contrastive:build",
    "lejepa": "geryon.train.encoders.objectives.lejepa:build",
    "supervised": "geryon.train.encoders.objectives.supervised:build",
    "vae": "geryon.train.encoders.objectives.vae:build",
}
"""Entry points of the group geryon.encoder_objectives add to it."""
UNTAUGHT = "none"
"""The objective of what has nothing to learn."""
SUPERVISED = "supervised"
"""The one that looks at classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an objective is built for."""

    encoder: nn.Module
    """Patches (uint8, NCHW) to codes (float [n, code])."""
    code: int
    seen_px: int
    """Side of what the encoder makes of a patch first: 64 where it takes means of 2 x 2 of 128 pixels."""
    tasks: tuple[PatchTask, ...]
    width: float
    """Channels of what is trained beside the encoder, over those of the papers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One step's patches as tensors."""

    views: tuple[Tensor, ...]
    """uint8 [n, 3, y, x] each."""
    task: Tensor
    """int64 [n]"""
    labels: Tensor
    """int64 [n]"""
    alike: Tensor
    """bool [n]"""


class Objective(Protocol):
    """What the loop needs; a torch module."""

    encoder: nn.Module
    views: int
    """Views of each place in a batch."""
    pairs: bool
    """Of two views, every other pair is of two places."""

    def losses(self, seen: Seen) -> Mapping[str, Tensor]:
        """Scalars by name; their weighted sum is minimised."""
