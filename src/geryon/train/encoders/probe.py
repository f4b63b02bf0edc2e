"""A small network on frozen codes, trained on some groups and asked about the others: what a code knows of a task.

Dense 256, norm, leaky ReLU, one logit a class (the head of Tellez et al., TPAMI 2019, on frozen encoders). Groups are
cut into folds and each is left out once, for the sets are small; answers are pooled over the folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from geryon.errors import InputError
from geryon.train import splits
from geryon.train.augment_settings import STRICT
from geryon.train.encoders.objectives.layers import head
from geryon.train.encoders.patches import Patches
from geryon.train.settings import SettingsError
from geryon.train.splits import Item, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How a probe is trained and asked; the same for all encoders that are compared."""

    __pydantic_config__ = STRICT

    folds: int = 5
    """Parts of the groups, each left out once."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Probes of each fold, by their first weights and draws."""
    patches: int = 2000
    """Of a task, at most; the same ones for every encoder."""
    steps: int = 250
    batch: int = 128
    """Codes a step, classes alike."""
    lr: float = 2e-3
    weight_decay: float = 0.02

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise SettingsError(what=f"folds is {self.folds}, must be at least 2", where="probe", mend="change it")


def folds_of(patches: Patches, folds: int) -> np.ndarray:
    """int64 [n]: the fold of each place; groups are whole, and classes of images spread over the folds.

    Raises InputError where all images are of one group.
    """
    items = [Item(source=i.source, group=i.group, name=i.name, stratum=i.stratum) for i in patches.images]
    count = min(folds, len({item.group for item in items}))
    if count < 2:
        raise InputError(
            what=f"the source {patches.task.source} has one group: none is left to learn a probe from",
            where=patches.task.name,
            mend="give more of its images (--data)",
        )
    of_image = np.zeros(len(items), np.int64)
    for fold in range(count):
        placed = splits.sides(items, Split(folds=count, fold=fold))
        of_image[[side == splits.VALIDATION for side in placed]] = fold
    return of_image[patches.image]


def answers(
    codes: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, classes: int, settings: ProbeSettings
) -> np.ndarray:
    """float32 [seed, n, class]: what probes that did not learn from a place's fold say of it.

    `codes` is float [n, d], `labels` and `folds` int64 [n].
    """
    said = np.zeros((len(settings.seeds), len(codes), classes), np.float32)
    with one_thread():
        _ask(said, codes, labels, folds, settings)
    return said


def _ask(said: np.ndarray, codes: np.ndarray, labels: np.ndarray, folds: np.ndarray, settings: ProbeSettings) -> None:
    """Fill the answers fold by fold."""
    for fold in np.unique(folds):
        learn, ask = folds != fold, folds == fold
        mean, spread = codes[learn].mean(axis=0), codes[learn].std(axis=0) + 1e-6
        known, asked = ((codes[rows] - mean) / spread for rows in (learn, ask))
        for k, seed in enumerate(settings.seeds):
            torch.manual_seed(1009 * seed + int(fold))
            given = known.astype(np.float32), labels[learn]
            said[k, ask] = _trained(*given, asked.astype(np.float32), classes=said.shape[2], settings=settings)


@contextmanager
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several threads, and far slower where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trained(
    known: np.ndarray, labels: np.ndarray, asked: np.ndarray, *, classes: int, settings: ProbeSettings
) -> np.ndarray:
    """float32 [n, class]: probabilities of one probe."""
    x, y = torch.from_numpy(known), torch.from_numpy(labels)
    chances = (1.0 / torch.bincount(y, minlength=classes).clamp(min=1).float())[y]
    probe = head(known.shape[1], classes).train()
    optimizer = torch.optim.AdamW(probe.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, foreach=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    drawn = torch.multinomial(chances, settings.steps * settings.batch, replacement=True).view(settings.steps, -1)
    for rows in drawn:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(probe(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return probe.eval()(torch.from_numpy(asked)).softmax(dim=1).numpy()
