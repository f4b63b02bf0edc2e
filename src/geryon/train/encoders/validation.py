"""How well each head tells the classes of patches whose groups it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from geryon.tasks.weighted_metrics import balanced_accuracy
from geryon.train.encoders.loop import MEAN
from geryon.train.encoders.objectives.supervised import Supervised
from geryon.train.encoders.patches import Patches, still

AT_ONCE = 64
"""Patches that go through the network together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Patches of one task, as they are."""

    name: str
    patches: np.ndarray
    """uint8 [n, y, x, 3]"""
    labels: np.ndarray
    """int64 [n]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Called with the averaged objective in evaluation mode."""

    tasks: Sequence[Checked]
    """In the order of the heads; without patches where nothing of a task validates."""

    def __call__(self, network: nn.Module) -> Mapping[str, float]:
        """{"glas balanced_accuracy": ..., "balanced_accuracy": mean over the tasks}"""
        assert isinstance(network, Supervised)
        figures = {}
        for checked, head in zip(self.tasks, network.heads, strict=True):
            if len(checked.labels):
                said = np.concatenate([found.argmax(axis=1) for found in _answers(network.encoder, head, checked)])
                every = np.ones((1, len(said)))
                figures[f"{checked.name} balanced_accuracy"] = float(balanced_accuracy(checked.labels, said, every)[0])
        return {**figures, MEAN: float(np.mean(list(figures.values())))} if figures else {}


@torch.no_grad()
def _answers(encoder: nn.Module, head: nn.Module, checked: Checked) -> list[np.ndarray]:
    place = next(head.parameters()).device
    parts = (checked.patches[i : i + AT_ONCE] for i in range(0, len(checked.patches), AT_ONCE))
    return [head(encoder(torch.from_numpy(part).to(place).permute(0, 3, 1, 2))).float().cpu().numpy() for part in parts]


def check_patches(patches: Patches, most: int, *, side_px: int, mpp: float) -> Checked:
    """The patches that validate a task, at most so many, the same ones each time."""
    chosen = patches.rows(some(len(patches.labels), most))
    return Checked(name=patches.task.name, patches=still(chosen, side_px=side_px, mpp=mpp), labels=chosen.labels)


def some(n: int, most: int) -> np.ndarray:
    """int64: all of n, or so many of them, the same each time."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(0).permutation(n)[:most])
