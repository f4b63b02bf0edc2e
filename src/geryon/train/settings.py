"""How a network learns, as one value; no torch here, so that a recipe can be checked without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from geryon.errors import UsageError
from geryon.train.augment_settings import STRICT, AugmentSettings
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
    """Crops a batch, of all processes together; at least one a source, so that each batch is the mixture."""
    accumulate: int = 1
    """Batches a step: their gradients are averaged, each batch normalised by itself."""
    crop_px: int = 256
    """Side of a crop, 128 µm at 0.5 µm per pixel; a multiple of 32."""
    batches: str = "mixed"
    """"mixed" (the places of a batch are dealt to the sources by their shares) or "fixed" (a batch is of one source,
    the sources in turn, as often as their shares say)."""
    apart: tuple[str, ...] = ()
    """Sources that stand in no other's batch but fill batches of their own: those that only name whole crops."""
    apart_every: int = 0
    """They fill every n-th batch, the first one included; 0: none but by chance."""
    apart_chance: float = 0.0
    """They fill a batch with this chance."""
    lr: float = 2e-3
    """Highest learning rate (AdamW; with weight_decay 0 that is Adam)."""
    schedule: str = "cosine"
    """"cosine" (down to lr_floor at the end) or "drops" (a tenth of it after each drop_steps)."""
    drop_steps: int = 75_000
    """Steps between drops of the rate."""
    lr_floor: float = 0.01
    """Part of it that is left at the end of the cosine."""
    warmup: float = 0.03
    """Part of the run in which the rate rises linearly."""
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    """Rate factors by beginning of a weight's name, e.g. {encoder.context: 0.3} for pre-trained stages."""
    weight_decay: float = 0.02
    """Decoupled decay of kernels; norms and biases have none."""
    clip: float = 5.0
    """Largest norm of the whole gradient; 0: as it is."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is validated and kept (shorter at the start); 0: no averaging."""
    freeze_norms_after: float = 1.0
    """Part of the run after which batch norms keep their statistics; 1: never."""
    map_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each map's loss, {task/map: weight}; 1 where left out, 0 leaves the map untrained."""
    map_losses: Mapping[str, str] = field(default_factory=dict)
    """Losses (in train.losses.LOSSES) in place of the tasks' own, {task/map: name}."""
    balance: str = "fixed"
    """"fixed" (map_weights alone) or "uncertainty" (learnt on top of them, Kendall et al., CVPR 2018)."""
    class_power: float = 0.0
    """0: pixels of all classes weigh alike; 0.5..1: those of rare classes weigh more, by their counts."""
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
    epoch_steps: int = 0
    """Steps of an epoch, which ends with a validation and a checkpoint; 0: the whole run is one."""
    best: str = ""
    """Figure of the validation by which the best epoch's weights are chosen, such as "TASK/MAP dice": higher is
    better, of a loss lower; "": the last weights are the result."""
    patience: int = 0
    """Epochs without a better one after which the run ends; 0: never."""
    keep_minutes: float = 5.0
    """A checkpoint at least this often within an epoch, too."""
    log_steps: int = 20
    """A row of the log every so many steps, means over them."""
    tensorboard: bool = False
    """Write the log and the figures for TensorBoard as well (extra "tensorboard")."""
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
            (self.accumulate < 1, f"accumulate is {self.accumulate}, must be at least 1"),
            (self.drop_steps < 1, f"drop_steps is {self.drop_steps}, must be at least 1"),
            (self.clip < 0, f"clip is {self.clip}, must not be negative"),
            (self.class_power < 0, f"class_power is {self.class_power}, must not be negative"),
            (self.batches not in ("mixed", "fixed"), f"batches {self.batches!r} is unknown (mixed, fixed)"),
            (self.schedule not in ("cosine", "drops"), f"schedule {self.schedule!r} is unknown (cosine, drops)"),
            (self.balance not in ("fixed", "uncertainty"), f"balance {self.balance!r} is unknown (fixed, uncertainty)"),
            *self._apart_checks(),
            *self._epoch_checks(),
            (self.precision not in ("auto", "float32", "bfloat16"), f"precision {self.precision!r} is unknown"),
            (self.device not in ("auto", "cpu", "cuda"), f"device {self.device!r} is unknown"),
            (any(w < 0 for w in self.map_weights.values()), "map_weights must not be negative"),
            (any(w < 0 for w in self.shares.values()), "shares must not be negative"),
        )

    def _apart_checks(self) -> tuple[tuple[bool, str], ...]:
        ways = (self.apart_every > 0) + (self.apart_chance > 0)
        return (
            (self.apart_every < 0, f"apart_every is {self.apart_every}, must not be negative"),
            (self.apart_every == 1, "apart_every is 1, which leaves no batch to the other sources"),
            (not 0 <= self.apart_chance < 1, f"apart_chance is {self.apart_chance}, must be in 0..1"),
            (ways == 2, "apart_every and apart_chance are two ways to say the same, give one"),
            (bool(self.apart) and ways == 0, "apart needs apart_every or apart_chance"),
            (not self.apart and ways > 0, "apart_every and apart_chance need apart, the sources meant"),
        )

    def _epoch_checks(self) -> tuple[tuple[bool, str], ...]:
        return (
            (self.epoch_steps < 0, f"epoch_steps is {self.epoch_steps}, must not be negative"),
            (self.patience < 0, f"patience is {self.patience}, must not be negative"),
            (self.patience > 0 and not (self.best and self.epoch_steps), "patience needs best and epoch_steps"),
        )
