"""The loop of an encoder: batches in, an averaged network out; resumes bit by bit.

Draws, colours and noise depend on (seed, step) alone; together with the kept weights and moments a stopped run goes on
as if it had never stopped. What is kept, and how, is train.checkpoints', as for models.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geryon.errors import InputError
from geryon.events import Advanced, Finished, Started, Tell, Warned, nobody
from geryon.nets.cores import usable_cores
from geryon.train import batches, checkpoints, curves
from geryon.train.checkpoints import Progress
from geryon.train.course import fraction
from geryon.train.encoders.draws import Feed
from geryon.train.encoders.feeding import Batch, make_batch
from geryon.train.encoders.objectives import Seen
from geryon.train.encoders.pace import rate_at
from geryon.train.encoders.recipe import EncoderSettings
from geryon.train.learner import Learner, Place, choose_place, set_up, update_average

STAGE = "train"
MEAN = "balanced_accuracy"
"""The figure that decides: the mean over the tasks."""
IDLE = ("minutes", "threads", "ahead", "keep_minutes", "log_steps", "device")
"""Settings that change nothing of the result."""
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run leaves."""

    network: nn.Module
    """The averaged objective with its encoder, in evaluation mode."""
    step: int
    seconds: float
    whole: bool
    figures: Mapping[str, float]
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Of the best validation, where one was chosen."""


@dataclass(slots=True, kw_only=True)
class _Run:
    learner: Learner
    settings: EncoderSettings
    out: Path
    tell: Tell
    validate: Validate | None
    progress: Progress
    begun: float
    """On the monotonic clock, as if the run had never stopped."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Of the losses since the last row of the log."""
    counts: dict[str, int] = field(default_factory=dict)
    since: int = 0
    since_at: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    kept_at: float = field(default_factory=time.monotonic)
    figures: Mapping[str, float] = field(default_factory=dict)
    validated: int = -1

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


def train(
    network: nn.Module,
    feed: Feed,
    settings: EncoderSettings,
    *,
    out: Path,
    validate: Validate | None = None,
    tell: Tell = nobody,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Teach an objective (train.encoders.objectives); resumes from what lies in `out`.

    `validate` gets the averaged network in evaluation mode; `stop` is asked before each step.
    """
    out.mkdir(parents=True, exist_ok=True)
    loop = settings.loop()
    learner = set_up(network, loop, choose_place(loop))
    progress = _resume(learner, out, settings, tell)
    begun = time.monotonic() - progress.seconds
    run = _Run(
        learner=learner,
        settings=settings,
        out=out,
        tell=tell,
        validate=validate,
        progress=progress,
        begun=begun,
        since=progress.step,
    )
    tell(Started(stage=STAGE, total=settings.steps, unit="steps", done=progress.step))
    whole = _steps(run, partial(make_batch, feed=feed), stop)
    return _end(run, whole)


def _resume(learner: Learner, out: Path, settings: EncoderSettings, tell: Tell) -> Progress:
    progress = checkpoints.restore(learner, out)
    for name in (curves.LOG, curves.VALIDATION):
        curves.rewind(out / name, progress.step)
    told = {name: value for name, value in settings.deciding().items() if name not in IDLE}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    if progress.step and progress.settings != digest:
        tell(Warned(text=f"the settings changed at step {progress.step}: the result is not that of either alone"))
    return replace(progress, settings=digest)


def _steps(run: _Run, make: Callable[[int], Batch], stop: Callable[[], bool]) -> bool:
    """Step after step; False where `stop` ended them."""
    settings, loop = run.settings, run.settings.loop()
    threads = settings.threads if settings.threads >= 0 else min(16, usable_cores())
    numbers = range(run.progress.step, settings.steps)
    stream: Iterator[Any] = batches.ahead(make, numbers, threads=threads, depth=settings.ahead)  # type: ignore[arg-type]
    for batch in stream:
        seconds = run.seconds
        part = fraction(run.progress.step, seconds, loop)
        if part >= 1.0 or stop():
            return part >= 1.0
        run.waited += seconds - run.progress.seconds
        lr = rate_at(batch.step, part, run.progress.judged, settings)
        _add(run, step_once(run.learner, batch, settings, lr))
        run.progress = replace(run.progress, step=run.progress.step + 1, seconds=run.seconds)
        _after(run, part)
    return True


def step_once(learner: Learner, batch: Batch, settings: EncoderSettings, lr: float) -> dict[str, Tensor]:
    """One step of the learner at that rate; the losses by name, "total" and "gradient" (its norm)."""
    torch.manual_seed(settings.seed * 1_000_003 + batch.step)
    for group in learner.optimizer.param_groups:
        group["lr"] = lr
    learner.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(learner.place.device.type, dtype=torch.bfloat16, enabled=learner.place.autocast):
        losses = learner.network.losses(seen(batch, learner.place))  # type: ignore[operator]
    total = torch.stack([settings.task_weights.get(name, 1.0) * value for name, value in losses.items()]).sum()
    total.backward()
    norm = nn.utils.clip_grad_norm_(learner.network.parameters(), settings.clip or math.inf, foreach=True)
    if not math.isfinite(norm.item()):
        bad = ", ".join(name for name, value in losses.items() if not torch.isfinite(value))
        raise InputError(
            what=f"the loss is not finite ({bad or 'its gradient'})",
            where=f"training step {batch.step}",
            mend="lower train.lr, or write precision: float32; the last good checkpoint is kept",
        )
    learner.optimizer.step()
    update_average(learner, min(settings.ema, (1.0 + batch.step) / (10.0 + batch.step)))
    told = {"total": total, **losses, "gradient": norm}
    return {name: value.detach() for name, value in told.items()}


def seen(batch: Batch, place: Place) -> Seen:
    """The batch where the network runs."""
    views = torch.from_numpy(batch.views).to(place.device)
    return Seen(
        views=tuple(view.permute(0, 3, 1, 2) for view in views),
        task=torch.from_numpy(batch.task).to(place.device),
        labels=torch.from_numpy(batch.labels).to(place.device),
        alike=torch.from_numpy(batch.alike).to(place.device),
    )


def _add(run: _Run, losses: Mapping[str, Tensor]) -> None:
    for name, value in losses.items():
        run.sums[name] = run.sums[name] + value if name in run.sums else value
        run.counts[name] = run.counts.get(name, 0) + 1


def _after(run: _Run, part: float) -> None:
    """Log, validate and keep what is due."""
    settings, step = run.settings, run.progress.step
    if step % settings.log_steps == 0:
        _log(run, part)
    if settings.validate_steps and step % settings.validate_steps == 0:
        _judge(run)
        judged = (*run.progress.judged, run.figures.get(MEAN, math.nan))
        run.progress = replace(run.progress, judged=judged)
        _keep(run)
    elif time.monotonic() - run.kept_at >= 60.0 * settings.keep_minutes:
        _keep(run)


def _log(run: _Run, part: float) -> None:
    settings, progress = run.settings, run.progress
    seconds = max(time.monotonic() - run.since_at, 1e-9)
    figures = {
        "seconds": progress.seconds,
        "lr": rate_at(progress.step, part, progress.judged, settings),
        "patches_per_second": (progress.step - run.since) * settings.batch / seconds,
        "waiting": run.waited / seconds,
        **{name: float(value) / run.counts[name] for name, value in run.sums.items()},
    }
    told = {name: curves.told(value) for name, value in figures.items()}
    curves.append(run.out / curves.LOG, {"step": progress.step, **told})
    left = f", {progress.seconds * (1.0 - part) / part / 60.0:.0f} min left" if settings.minutes and part else ""
    run.tell(Advanced(stage=STAGE, n=progress.step - run.since, note=f"loss {told['total']}{left}"))
    run.sums, run.counts, run.since, run.since_at, run.waited = {}, {}, progress.step, time.monotonic(), 0.0


def _keep(run: _Run) -> None:
    checkpoints.keep(run.learner, run.progress, run.out)
    run.kept_at = time.monotonic()


def _judge(run: _Run) -> None:
    """Validate the averaged network, and keep it where it is the best so far."""
    step = run.progress.step
    if run.validate is None or run.validated == step:
        return
    run.figures, run.validated = dict(run.validate(run.learner.average.eval())), step
    curves.rewind(run.out / curves.VALIDATION, step - 1)
    for name, value in run.figures.items():
        curves.append(run.out / curves.VALIDATION, {"step": step, "figure": name, "value": curves.told(value)})
    value, best = run.figures.get(MEAN, math.nan), run.progress.best
    if run.settings.best and math.isfinite(value) and (best is None or value > best):
        run.progress = replace(run.progress, best=value, best_step=step)
        facts = {"figure": MEAN, "value": value, "step": step, "figures": dict(run.figures)}
        checkpoints.keep_best(run.learner.average, facts, run.out)


def _end(run: _Run, whole: bool) -> Trained:
    """The last checkpoint and validation, and the weights that are the result."""
    chosen: dict[str, Any] = {}
    if whole:
        _judge(run)
    _keep(run)
    if whole and run.progress.best is not None:
        chosen = checkpoints.restore_best(run.learner.average, run.out)
        run.figures = chosen.pop("figures")
    run.tell(Finished(stage=STAGE, seconds=run.progress.seconds))
    return Trained(
        network=run.learner.average.eval(),
        step=run.progress.step,
        seconds=run.progress.seconds,
        whole=whole,
        figures=run.figures,
        chosen=chosen,
    )
