"""How a network learns, as one value; no torch here, so that a recipe can be checked without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from geryon.errors import UsageError
from geryon.train.augment import STRICT, AugmentSettings
from geryon.train.sampling import GRID_PX


class SettingsError(UsageError, ValueError):
    """Faults of settings; a ValueError too, so that the check of a recipe lists them among all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """Length, pace and food of a training run."""

    __pydantic_config__ = STRICT

    steps: int = 20_000
    """Steps of a whole run."""
    minutes: float = 0.0
    """Wall-clock limit, resumed runs counted together; the schedule ends with whichever comes first. 0: none."""
    batch: int = 8
    """Crops a step; at least one a source, so that each batch is the mixture."""
    crop_px: int = 256
    """Side of a crop, 128 µm at 0.5 µm per pixel; a multiple of 32."""
    lr: float = 2e-3
    """Highest learning rate (AdamW)."""
    lr_floor: float = 0.01
    """Part of it that is left at the end of the cosine."""
    warmup: float = 0.03
    """Part of the run in which the rate rises linearly."""
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    """Rate factors by beginning of a weight's name, e.g. {encoder.context: 0.3} for pre-trained stages."""
    weight_decay: float = 0.02
    """Decoupled decay of kernels; norms and biases have none."""
    clip: float = 5.0
    """Largest norm of the whole gradient."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is validated and kept (shorter at the start)."""
    freeze_norms_after: float = 1.0
    """Part of the run after which batch norms keep their statistics; 1: never."""
    map_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each map's loss, {task/map: weight}; 1 where left out, 0 leaves the map untrained."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Part of each batch by source, in any unit; 1 where left out."""
    rare_power: float = 0.0
    """0: pixels as they come; 0.5..1: samples with rare classes are drawn more often."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """Colours, sharpness, noise."""
    precision: str = "auto"
    """"float32", "bfloat16" (autocast) or "auto": bfloat16 on CUDA and on processors with AMX."""
    device: str = "auto"
    """"cpu", "cuda" or "auto"."""
    threads: int = -1
    """Threads that prepare batches; 0: none, in turn with the network; -1: one a core, at most 16."""
    ahead: int = 6
    """Batches kept ready."""
    keep_minutes: float = 5.0
    """A checkpoint at least this often."""
    keep_steps: int = 0
    """A checkpoint every so many steps as well; 0: by time alone."""
    log_steps: int = 20
    """A row of the log every so many steps, means over them."""
    validate_steps: int = 0
    """Validation every so many steps; 0: at the end only."""
    seed: int = 0
    """Of draws, colours and dropout."""

    def __post_init__(self) -> None:
        faults = [text for bad, text in self._checks() if bad]
        if faults:
            raise SettingsError(what="; ".join(faults), where="training settings", mend="change them in the recipe")

    def _checks(self) -> tuple[tuple[bool, str], ...]:
        return (
            (self.steps < 1, f"steps is {self.steps}, must be at least 1"),
            (self.batch < 1, f"batch is {self.batch}, must be at least 1"),
            (
                self.crop_px < GRID_PX or self.crop_px % GRID_PX != 0,
                f"crop_px is {self.crop_px}, no multiple of {GRID_PX}",
            ),
            (self.lr <= 0, f"lr is {self.lr}, must be positive"),
            (self.minutes < 0, f"minutes is {self.minutes}, must not be negative"),
            (not 0 <= self.warmup < 1, f"warmup is {self.warmup}, must be in 0..1"),
            (not 0 <= self.ema < 1, f"ema is {self.ema}, must be in 0..1"),
            (self.log_steps < 1, f"log_steps is {self.log_steps}, must be at least 1"),
            (self.precision not in ("auto", "float32", "bfloat16"), f"precision {self.precision!r} is unknown"),
            (self.device not in ("auto", "cpu", "cuda"), f"device {self.device!r} is unknown"),
            (any(w < 0 for w in self.map_weights.values()), "map_weights must not be negative"),
            (any(w < 0 for w in self.shares.values()), "shares must not be negative"),
        )
