"""The state of a training run in one file, renamed into place: weights, their average, moments, and where it stood.

A safetensors file: tensors "network/…", "ema/…", "balance/…", "moment1/…", "moment2/…", "steps/…" by weight name,
and in the metadata one JSON string with step, seconds and the best so far. Draws, colours and dropout depend on
(seed, step), so no state of a random generator has to be kept. The averaged weights of the best epoch lie beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from geryon.atomic import whole_file
from geryon.errors import InputError
from geryon.train.learner import Learner

STATE, BEST = "state.safetensors", "best.safetensors"
KEY = "geryon-state"
_MOMENTS = {"moment1": "exp_avg", "moment2": "exp_avg_sq", "steps": "step"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Wall-clock seconds spent, earlier parts of the run included."""
    settings: str = ""
    """SHA-256 of what decides about the result; a change is told."""
    best: float | None = None
    """The figure that decides, where it was best."""
    best_step: int = 0
    judged: tuple[float, ...] = ()
    """The figure that decides, of each validation so far: a plateau schedule cuts the rate by them."""


def keep(learner: Learner, progress: Progress, out: Path) -> None:
    """Write the state: a kill or a power cut leaves the old or the new one. What is not finite is never written."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in _tensors(learner).items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(
            what=f"{len(broken)} tensors are not finite, such as {broken[0]}",
            where=f"training step {progress.step}",
            mend="lower train.lr, or write precision: float32; the last good checkpoint is kept",
        )
    _save(tensors, out / STATE, asdict(progress))


def _save(tensors: dict[str, Tensor], path: Path, facts: Mapping[str, Any]) -> None:
    with whole_file(path) as fresh:
        try:
            save_file(tensors, fresh, metadata={KEY: json.dumps(facts)})
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def keep_best(average: nn.Module, facts: Mapping[str, Any], out: Path) -> None:
    """Write the averaged weights with what is said of them, in place of those that were the best before."""
    _save({k: v.detach().cpu().contiguous() for k, v in average.state_dict().items()}, out / BEST, facts)


def restore_best(average: nn.Module, out: Path) -> dict[str, Any]:
    """Fill the network with the best weights, and tell what was said of them."""
    facts, kept = _read(out / BEST)
    average.load_state_dict(kept)
    return facts


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[KEY])
            return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _no_state(path, error) from error


def _no_state(path: Path, error: Exception) -> InputError:
    return InputError(what=f"is no training state: {error}", where=str(path), mend="remove it, or choose another --out")


def restore(learner: Learner, out: Path) -> Progress:
    """Fill the learner with the state in `out` and tell where it stood; a fresh Progress where there is none."""
    path = out / STATE
    if not path.exists():
        return Progress()
    facts, kept = _read(path)
    try:
        progress = Progress(**{**facts, "judged": tuple(facts.get("judged", ()))})
    except TypeError as error:
        raise _no_state(path, error) from error
    _fill(learner, kept, path)
    return progress


def _fill(learner: Learner, kept: dict[str, Tensor], path: Path) -> None:
    weights = {k: v for k, v in kept.items() if k.split("/", 1)[0] not in _MOMENTS}
    here = _weights(learner)
    wrong = sorted(set(weights) ^ set(here)) + [k for k in here if k in weights and here[k].shape != weights[k].shape]
    if wrong:
        raise InputError(
            what=f"belongs to another network ({len(wrong)} weights differ, such as {wrong[0]})",
            where=str(path),
            mend="choose another --out, or remove this state to begin anew",
        )
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(weights[name])
    _fill_moments(learner, kept)


def _fill_moments(learner: Learner, kept: dict[str, Tensor]) -> None:
    for name, parameter in _learnt(learner):
        if f"moment1/{name}" not in kept:
            continue
        state = learner.optimizer.state[parameter]
        state["step"] = kept[f"steps/{name}"].clone()
        for key in ("moment1", "moment2"):
            state[_MOMENTS[key]] = torch.empty_like(parameter).copy_(kept[f"{key}/{name}"])


def _weights(learner: Learner) -> dict[str, Tensor]:
    network = {f"network/{k}": v for k, v in learner.network.state_dict().items()}
    average = {f"ema/{k}": v for k, v in learner.average.state_dict().items()}
    return network | average | {f"balance/{k}": v for k, v in learner.balance.items()}


def _learnt(learner: Learner) -> Iterator[tuple[str, nn.Parameter]]:
    yield from learner.network.named_parameters()
    yield from ((f"balance/{name}", parameter) for name, parameter in learner.balance.items())


def _tensors(learner: Learner) -> dict[str, Tensor]:
    tensors = _weights(learner)
    for name, parameter in _learnt(learner):
        state = learner.optimizer.state.get(parameter, {})
        tensors |= {f"{key}/{name}": state[long] for key, long in _MOMENTS.items() if long in state}
    return tensors
