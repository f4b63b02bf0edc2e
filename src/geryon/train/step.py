"""One step: batches in, gradients, and a network that is a little better.

Written for the bare machine: torch and numpy only. Each map's loss is taken from sums over crops (losses.py), so
what it was on the crops of one source, or on one crop, is known without further work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from geryon.errors import InputError
from geryon.train import processes
from geryon.train.batches import TARGET_UNIT, WEIGHT_UNIT, Batch
from geryon.train.learner import Learner, Place, freeze_norms, update_average
from geryon.train.losses import Loss, class_weight
from geryon.train.settings import LoopSettings

DROP = 0.1
"""What is left of the rate after each drop of the schedule "drops"."""
TOLD = 3
"""Crops that the report of a loss that is not finite names one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What one map is taught by."""

    loss: Loss
    channels: int
    weight: float = 1.0
    """Of its loss beside those of other maps."""
    class_weights: tuple[float, ...] = ()
    """Of pixels by their class; (): all alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSums:
    """A map's sums over each crop that was asked for it."""

    sums: Tensor
    """float32 [m, k]."""
    crops: np.ndarray
    """int64 [m]: which crops of the batch these are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """What a step tells."""

    figures: Mapping[str, Tensor]
    """The loss of each map that its batches know (mean over them, unweighted), "total" and "gradient" (its norm)."""
    parts: Sequence[Mapping[str, CropSums]]
    """Per batch, {map: sums}."""


def rate(step: int, part: float, settings: LoopSettings) -> float:
    """The learning rate at a step, where `part` of the run is over: up linearly, then down a cosine or in drops."""
    part = max(part, 0.5 / settings.steps)
    if part < settings.warmup:
        return settings.lr * part / settings.warmup
    if settings.schedule == "drops":
        return float(settings.lr * DROP ** (step // settings.drop_steps))
    down = 0.5 * (1.0 + math.cos(math.pi * (part - settings.warmup) / (1.0 - settings.warmup)))
    return settings.lr * (settings.lr_floor + (1.0 - settings.lr_floor) * down)


def step_once(
    learner: Learner, fed: Sequence[Batch], aims: Mapping[str, Aim], settings: LoopSettings, part: float
) -> Stepped:
    """One step of the learner over these batches, whose gradients are averaged."""
    step = fed[0].step // len(fed)
    torch.manual_seed((settings.seed * 1_000_003 + step) * processes.count() + processes.rank())
    frozen = part >= settings.freeze_norms_after
    if frozen:
        freeze_norms(learner.network)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate(step, part, settings) * group["factor"]
    learner.optimizer.zero_grad(set_to_none=True)
    told = [backward(learner, batch, aims, 1.0 / len(fed)) for batch in fed]
    processes.add_gradients(learner.network)
    figures = _mean([losses for losses, _ in told])
    parts = [sums for _, sums in told]
    if figures:
        norm = nn.utils.clip_grad_norm_(learner.network.parameters(), settings.clip or math.inf, foreach=True)
        _check_finite(norm, fed, parts)
        learner.optimizer.step()
        figures["gradient"] = norm.detach()
    if not frozen:
        processes.average_statistics(learner.network)
    update_average(learner, min(settings.ema, (1.0 + step) / (10.0 + step)))
    return Stepped(figures=figures, parts=parts)


def backward(
    learner: Learner, batch: Batch, aims: Mapping[str, Aim], share: float
) -> tuple[dict[str, Tensor], dict[str, CropSums]]:
    """Add `share` of the batch's gradient to the learner's; returns the loss of each map, their total, and the sums."""
    parts = sums_of(learner.network, batch, aims, learner.place)
    losses = losses_of(parts, aims, learner.place)
    if not losses:
        return {}, parts
    total = torch.stack([weighted(losses[name], name, aims, learner) for name in losses]).sum()
    if total.requires_grad:
        (total * share).backward()
    told = {**losses, "total": total}
    detached = {name: CropSums(sums=each.sums.detach(), crops=each.crops) for name, each in parts.items()}
    return {name: value.detach() for name, value in told.items()}, detached


def weighted(loss: Tensor, name: str, aims: Mapping[str, Aim], learner: Learner) -> Tensor:
    """A map's part of the total.

    With learnt balance that is w (L exp(-s) + s / 2), s the logarithm of the variance that the map's answers are
    thought to have (Kendall et al., CVPR 2018, eq. 10); w stays what the recipe says of the map's importance.
    """
    s = learner.balance.get(name)
    return aims[name].weight * (loss if s is None else loss * torch.exp(-s) + s / 2.0)


def sums_of(network: nn.Module, batch: Batch, aims: Mapping[str, Aim], place: Place) -> dict[str, CropSums]:
    """The sums of each map that the batch knows; crops without labels of a task are not asked it."""
    images = _on(batch.images, place).permute(0, 3, 1, 2)
    rows = rows_of(batch)
    some = bool(getattr(network, "takes_rows", False))
    asked = {task: torch.from_numpy(of).to(place.device) for task, of in rows.items()}
    with torch.autocast(place.device.type, dtype=torch.bfloat16, enabled=place.autocast):
        logits = network(images, asked) if some else network(images)
    parts = {}
    for name in aims:
        if name not in batch.targets:
            continue
        target = _on(batch.targets[name], place).permute(0, 3, 1, 2).float() / TARGET_UNIT
        weight = _on(batch.weights[name], place).float() / WEIGHT_UNIT
        crops = np.arange(len(batch.images))
        if some:
            crops = rows[task_of(name)]
            target, weight = (each[asked[task_of(name)]] for each in (target, weight))
        if aims[name].class_weights:
            weight = weight * class_weight(target, weight.new_tensor(aims[name].class_weights))
        parts[name] = CropSums(sums=aims[name].loss.sums(logits[name].float(), target, weight), crops=crops)
    return parts


def losses_of(parts: Mapping[str, CropSums], aims: Mapping[str, Aim], place: Place) -> dict[str, Tensor]:
    """The loss of each map that the batch knows, the crops of other processes included."""
    own = {name: each.sums.sum(dim=0) for name, each in parts.items()}
    if processes.count() > 1:
        own = {name: own[name] if name in own else _no_sums(aim, place) for name, aim in aims.items()}
    sums = processes.add_sums(own, list(parts))
    return {name: aims[name].loss.value(each) for name, each in sums.items()}


def _no_sums(aim: Aim, place: Place) -> Tensor:
    """What no crop at all adds."""
    nothing = torch.zeros(0, aim.channels, 1, 1, device=place.device)
    return aim.loss.sums(nothing, nothing, nothing[:, 0]).sum(dim=0)


def rows_of(batch: Batch) -> dict[str, np.ndarray]:
    """{task: ascending indices of the crops that know anything of it}."""
    known: dict[str, np.ndarray] = {}
    for name, weight in batch.weights.items():
        task, any_known = task_of(name), weight.any(axis=(1, 2))
        known[task] = np.logical_or(known.get(task, False), any_known)
    return {task: np.flatnonzero(of) for task, of in known.items()}


def task_of(name: str) -> str:
    """The task of a map."""
    return name.split("/")[0]


def _on(array: np.ndarray, place: Place) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(place.device, non_blocking=True) if place.device.type == "cuda" else tensor


def _mean(told: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each figure over the batches that have it."""
    names = dict.fromkeys(name for figures in told for name in figures)
    return {name: torch.stack([f[name] for f in told if name in f]).mean() for name in names}


def _check_finite(norm: Tensor, fed: Sequence[Batch], parts: Sequence[Mapping[str, CropSums]]) -> None:
    if math.isfinite(norm.item()):
        return
    faults = []
    for batch, sums in zip(fed, parts, strict=True):
        for name, each in sums.items():
            bad = each.crops[(~torch.isfinite(each.sums).all(dim=1)).cpu().numpy()]
            knows = batch.weights[name][bad].any(axis=(1, 2))
            faults += [f"{name} on {_named(batch, bad[knows] if knows.any() else bad)}"] if len(bad) else []
    crops = [str(crop) for batch in fed for crop in batch.crops]
    raise InputError(
        what=f"the loss is not finite: {'; '.join(faults)}"
        if faults
        else f"the gradient is not finite though each loss is; the crops were {', '.join(crops)}",
        where=f"training step {fed[0].step // len(fed)}",
        mend="lower train.lr, or write precision: float32; the last good checkpoint is kept",
    )


def _named(batch: Batch, crops: np.ndarray) -> str:
    named = list(dict.fromkeys(str(batch.crops[i]) for i in crops.tolist()))
    sources = sorted({batch.crops[i].source for i in crops.tolist()})
    more = f" and {len(named) - TOLD} more crops (sources: {', '.join(sources)})" if len(named) > TOLD else ""
    return ", ".join(named[:TOLD]) + more
