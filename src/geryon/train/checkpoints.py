"""The state of a training run in one file, renamed into place: weights, their average, moments, and where it stood.

A safetensors file: tensors "network/…", "ema/…", "moment1/…", "moment2/…", "steps/…" by weight name, and in
the metadata one JSON string with step and seconds. Draws, colours and dropout depend on (seed, step), so no
state of a random generator has to be kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from geryon.atomic import whole_file
from geryon.errors import InputError
from geryon.train.learner import Learner

STATE = "state.safetensors"
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


def keep(learner: Learner, progress: Progress, out: Path) -> None:
    """Write the state: a kill or a power cut leaves the old or the new one."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in _tensors(learner).items()}
    with whole_file(out / STATE) as fresh:
        try:
            save_file(tensors, fresh, metadata={KEY: json.dumps(asdict(progress))})
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def restore(learner: Learner, out: Path) -> Progress:
    """Fill the learner with the state in `out` and tell where it stood; a fresh Progress where there is none."""
    path = out / STATE
    if not path.exists():
        return Progress()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads((file.metadata() or {})[KEY]))
            kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            what=f"is no training state: {error}", where=str(path), mend="remove it, or choose another --out"
        ) from error
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
    for name, parameter in learner.network.named_parameters():
        if f"moment1/{name}" not in kept:
            continue
        state = learner.optimizer.state[parameter]
        state["step"] = kept[f"steps/{name}"].clone()
        for key in ("moment1", "moment2"):
            state[_MOMENTS[key]] = torch.empty_like(parameter).copy_(kept[f"{key}/{name}"])


def _weights(learner: Learner) -> dict[str, Tensor]:
    network = {f"network/{k}": v for k, v in learner.network.state_dict().items()}
    return network | {f"ema/{k}": v for k, v in learner.average.state_dict().items()}


def _tensors(learner: Learner) -> dict[str, Tensor]:
    tensors = _weights(learner)
    for name, parameter in learner.network.named_parameters():
        state = learner.optimizer.state.get(parameter, {})
        tensors |= {f"{key}/{name}": state[long] for key, long in _MOMENTS.items() if long in state}
    return tensors
