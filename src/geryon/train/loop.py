"""The loop: batches in, an averaged network out.

Read it top-down: `train` sets up, takes one step after another, logs, validates and keeps the state.
Draws, colours and dropout depend on (seed, step) alone; together with the kept weights and moments a
stopped run continues as if it had never stopped (bit by bit on one machine with one thread).

Batch norms see the mixture: each batch draws from all sources (sampling.py), so no source's statistics
take over, though heads whose labels are absent from a crop normalise it as well. `freeze_norms_after`
lets the last part of a run learn with the statistics that inference will use.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from geryon.errors import InputError, UsageError, from_os_error
from geryon.events import Advanced, Finished, Started, Tell, Warned, nobody
from geryon.nets.engines.torch_ import usable_cores
from geryon.train import batches, checkpoints, curves, sampling
from geryon.train.batches import TARGET_UNIT, WEIGHT_UNIT, Batch, MapShape, Sample
from geryon.train.checkpoints import Progress
from geryon.train.learner import Learner, Place, choose_place, freeze_norms, set_up, update_average
from geryon.train.losses import Loss, get_loss
from geryon.train.settings import LoopSettings

STAGE = "train"
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run leaves."""

    network: nn.Module
    """Averaged weights, in evaluation mode."""
    step: int
    seconds: float
    whole: bool
    """False where `stop` ended it before its schedule did; the same call goes on."""
    figures: Mapping[str, float]
    """Of the last validation."""


def train(
    network: nn.Module,
    samples: Sequence[Sample],
    losses: Mapping[str, str],
    settings: LoopSettings,
    *,
    out: Path,
    validate: Validate | None = None,
    tell: Tell = nobody,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Teach `network` the maps of `losses` ({task/map: name of its loss}); resumes from what lies in `out`.

    `validate` gets the averaged network in evaluation mode; `stop` is asked before each step.
    """
    cv2.setNumThreads(1)
    _make_folder(out)
    shapes = batches.map_shapes(samples, tuple(losses))
    maps = _maps(losses, shapes, settings, tell)
    pool = make_pool(samples, losses, settings)
    make = partial(make_batch, settings=settings, samples=samples, shapes={m: shapes[m] for m in maps}, pool=pool)
    learner = set_up(network, settings, choose_place(settings))
    progress = _resume(learner, out, settings, tell)
    begun = time.monotonic() - progress.seconds
    kept_at, tally, whole = time.monotonic(), Tally(since=progress.step), True
    figures: Mapping[str, float] = {}
    validated = -1
    tell(Started(stage=STAGE, total=settings.steps, unit="steps", done=progress.step))
    for batch in batches.ahead(
        make, range(progress.step, settings.steps), threads=_threads(settings), depth=settings.ahead
    ):
        seconds = time.monotonic() - begun
        part = fraction(batch.step, seconds, settings)
        if part >= 1.0 or stop():
            whole = part >= 1.0
            break
        waited = seconds - progress.seconds
        tally.add(step_once(learner, batch, maps, settings, part), waited)
        progress = replace(progress, step=batch.step + 1, seconds=time.monotonic() - begun)
        if progress.step % settings.log_steps == 0:
            tell(
                Advanced(
                    stage=STAGE, n=progress.step - tally.since, note=_log(tally, tuple(maps), progress, settings, out)
                )
            )
            tally = Tally(since=progress.step)
        if validate and settings.validate_steps and progress.step % settings.validate_steps == 0:
            figures = _validate(validate, learner, out, progress.step)
            validated = progress.step
        if _is_due(progress.step, kept_at, settings):
            checkpoints.keep(learner, progress, out)
            kept_at = time.monotonic()
    checkpoints.keep(learner, progress, out)
    if validate and whole and validated != progress.step:
        figures = _validate(validate, learner, out, progress.step)
    tell(Finished(stage=STAGE, seconds=progress.seconds))
    return Trained(network=learner.average, step=progress.step, seconds=progress.seconds, whole=whole, figures=figures)


def fraction(step: int, seconds: float, settings: LoopSettings) -> float:
    """How much of the run is over, by steps or by the clock, whichever is further; 0..1."""
    by_clock = seconds / (60.0 * settings.minutes) if settings.minutes else 0.0
    return min(1.0, max(step / settings.steps, by_clock))


def rate(part: float, settings: LoopSettings) -> float:
    """The learning rate where `part` of the run is over: up linearly, then down a cosine."""
    part = max(part, 0.5 / settings.steps)
    if part < settings.warmup:
        return settings.lr * part / settings.warmup
    down = 0.5 * (1.0 + math.cos(math.pi * (part - settings.warmup) / (1.0 - settings.warmup)))
    return settings.lr * (settings.lr_floor + (1.0 - settings.lr_floor) * down)


def make_batch(
    step: int, *, samples: Sequence[Sample], shapes: Mapping[str, MapShape], pool: sampling.Pool, settings: LoopSettings
) -> Batch:
    """The batch of a step, from its number alone."""
    draws = sampling.draw(pool, step, batch=settings.batch, crop_px=settings.crop_px, seed=settings.seed)
    images, targets, weights = batches.assemble(samples, shapes, draws, settings.crop_px, settings.augment)
    return Batch(step=step, images=images, targets=targets, weights=weights)


def make_pool(samples: Sequence[Sample], losses: Mapping[str, str], settings: LoopSettings) -> sampling.Pool:
    """What batches are drawn from, rare classes more often where the settings say so."""
    classes = [name for name, loss in losses.items() if loss == "class_cross_entropy"]
    weights = np.ones(len(samples))
    for name in classes if settings.rare_power else ():
        weights *= sampling.rare_weights(batches.class_counts(samples, name), settings.rare_power)
    return sampling.make_pool(
        [(s.image.shape[0], s.image.shape[1]) for s in samples],
        [s.source for s in samples],
        shares=settings.shares,
        weights=list(weights),
    )


def step_once(
    learner: Learner,
    batch: Batch,
    maps: Mapping[str, tuple[Loss, float]],
    settings: LoopSettings,
    part: float,
) -> dict[str, Tensor]:
    """One step of the learner; returns the loss of each map the batch knows, unweighted, and their "total"."""
    torch.manual_seed(settings.seed * 1_000_003 + batch.step)
    if part >= settings.freeze_norms_after:
        freeze_norms(learner.network)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate(part, settings) * group["factor"]
    parts = losses_of(learner.network, batch, {name: loss for name, (loss, _) in maps.items()}, learner.place)
    total = torch.stack([parts[name] * maps[name][1] for name in parts]).sum() if parts else None
    learner.optimizer.zero_grad(set_to_none=True)
    if total is not None:
        total.backward()
        norm = nn.utils.clip_grad_norm_(learner.network.parameters(), settings.clip, foreach=True)
        _check_finite(norm, batch, parts)
        learner.optimizer.step()
        parts = parts | {"total": total, "gradient": norm}
    update_average(learner, min(settings.ema, (1.0 + batch.step) / (10.0 + batch.step)))
    return {name: value.detach() for name, value in parts.items()}


def losses_of(network: nn.Module, batch: Batch, losses: Mapping[str, Loss], place: Place) -> dict[str, Tensor]:
    """The loss of each map that the batch knows; crops without labels of a task are not asked it."""
    images = _on(batch.images, place).permute(0, 3, 1, 2)
    rows = {task: torch.from_numpy(of).to(place.device) for task, of in rows_of(batch).items()}
    some = bool(getattr(network, "takes_rows", False))
    with torch.autocast(place.device.type, dtype=torch.bfloat16, enabled=place.autocast):
        logits = network(images, rows) if some else network(images)
    parts = {}
    for name, target in batch.targets.items():
        t = _on(target, place).permute(0, 3, 1, 2).float() / TARGET_UNIT
        w = _on(batch.weights[name], place).float() / WEIGHT_UNIT
        if some:
            t, w = (each[rows[name.split("/")[0]]] for each in (t, w))
        parts[name] = losses[name](logits[name].float(), t, w)
    return parts


def rows_of(batch: Batch) -> dict[str, np.ndarray]:
    """{task: ascending indices of the crops that know anything of it}."""
    known: dict[str, np.ndarray] = {}
    for name, weight in batch.weights.items():
        task, any_known = name.split("/")[0], weight.any(axis=(1, 2))
        known[task] = np.logical_or(known.get(task, False), any_known)
    return {task: np.flatnonzero(of) for task, of in known.items()}


def _on(array: np.ndarray, place: Place) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(place.device, non_blocking=True) if place.device.type == "cuda" else tensor


def _check_finite(norm: Tensor, batch: Batch, parts: Mapping[str, Tensor]) -> None:
    if not math.isfinite(norm.item()):
        bad = [name for name, value in parts.items() if not math.isfinite(value.item())]
        raise InputError(
            what=f"the gradient is not finite (losses not finite: {', '.join(bad) or 'none'})",
            where=f"training step {batch.step}",
            mend="lower train.lr, or write precision: float32; the last checkpoint is kept",
        )


@dataclass(slots=True)
class Tally:
    """Sums over the steps since the last row of the log."""

    since: int
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    waited: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def add(self, parts: Mapping[str, Tensor], waited: float) -> None:
        """Take one step in; `waited` is how long the network waited for its batch."""
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.waited += waited

    def means(self) -> dict[str, float]:
        """Mean over the steps in which each loss was known."""
        return {name: float(value) / self.counts[name] for name, value in self.sums.items()}


def _log(tally: Tally, names: Sequence[str], progress: Progress, settings: LoopSettings, out: Path) -> str:
    means, seconds = tally.means(), max(time.monotonic() - tally.begun, 1e-9)
    figures = {name: f"{means[name]:.5f}" if name in means else "" for name in ("total", *names, "gradient")}
    steps = progress.step - tally.since
    part = fraction(progress.step, progress.seconds, settings)
    row = {
        "step": progress.step,
        "seconds": f"{progress.seconds:.1f}",
        "lr": f"{rate(part, settings):.3g}",
        "crops_per_second": f"{steps * settings.batch / seconds:.2f}",
        "waiting": f"{tally.waited / seconds:.3f}",
        **figures,
    }
    curves.append(out / curves.LOG, row)
    return f"loss {figures['total']}"


def _validate(validate: Validate, learner: Learner, out: Path, step: int) -> Mapping[str, float]:
    figures = dict(validate(learner.average.eval()))
    for name, value in figures.items():
        curves.append(out / curves.VALIDATION, {"step": step, "figure": name, "value": f"{value:.6g}"})
    return figures


def _resume(learner: Learner, out: Path, settings: LoopSettings, tell: Tell) -> Progress:
    progress = checkpoints.restore(learner, out)
    for name in (curves.LOG, curves.VALIDATION):
        curves.rewind(out / name, progress.step)
    digest = _digest(settings)
    if progress.step and progress.settings != digest:
        tell(Warned(text=f"the settings changed at step {progress.step}: the result is not that of either alone"))
    return replace(progress, settings=digest)


def _digest(settings: LoopSettings) -> str:
    idle = ("minutes", "threads", "ahead", "keep_minutes", "keep_steps", "log_steps", "validate_steps", "device")
    told = {name: value for name, value in asdict(settings).items() if name not in idle}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _maps(
    losses: Mapping[str, str], shapes: Mapping[str, MapShape], settings: LoopSettings, tell: Tell
) -> dict[str, tuple[Loss, float]]:
    strangers = sorted(set(settings.map_weights) - set(losses))
    if strangers:
        raise UsageError(
            what=f"map_weights name unknown maps: {', '.join(strangers)}",
            where="map_weights",
            mend=f"choose of: {', '.join(losses)}",
        )
    silent = [name for name in losses if name not in shapes]
    if silent:
        tell(Warned(text=f"no sample has labels for {', '.join(silent)}: these maps stay untrained"))
    weights = {name: settings.map_weights.get(name, 1.0) for name in losses if name in shapes}
    return {name: (get_loss(losses[name]), weight) for name, weight in weights.items() if weight > 0}


def _threads(settings: LoopSettings) -> int:
    return settings.threads if settings.threads >= 0 else min(16, usable_cores())


def _is_due(step: int, kept_at: float, settings: LoopSettings) -> bool:
    by_step = settings.keep_steps > 0 and step % settings.keep_steps == 0
    return by_step or time.monotonic() - kept_at >= 60.0 * settings.keep_minutes


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, where=str(out), doing="making the folder of the run") from error
