"""Which patches a step learns from: tasks alike, classes alike, by the seed and the step alone.

The places of a batch are dealt to the tasks like cards, and a task's to its classes, both from a random start: the part
of each varies by at most one patch, whatever the sizes of the sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geryon.train.augment_settings import AugmentSettings
from geryon.train.encoders.patches import Patches

NEAR = 0.75
"""Part of the unlike pairs that are of one image: Tellez et al. (TPAMI 2019) took 75 % from neighbouring places."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One patch: of which task and place, how far moved, how turned, and the seed of its colours."""

    task: int
    place: int
    move: tuple[float, float]
    """x, y, each -1..1 of the task's jitter."""
    turn: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What batches are made from."""

    tasks: tuple[Patches, ...]
    """Places to learn from."""
    batch: int
    seed: int
    side_px: int
    mpp: float
    augment: AugmentSettings
    by_task: bool = True
    by_class: bool = True
    views: int = 1
    pairs: bool = False
    """Of two views, every other pair is of two places (train.encoders.draws.partners)."""


def draw(feed: Feed, step: int) -> list[Draw]:
    """The patches of a step; places are as likely as one another where classes (or tasks) are not dealt alike."""
    rng, tasks, batch = np.random.default_rng([feed.seed, step]), feed.tasks, feed.batch
    of_task = deal(rng, len(tasks), batch) if feed.by_task else _by_size(rng, [len(t.labels) for t in tasks], batch)
    places = np.zeros(batch, np.int64)
    for k, patches in enumerate(tasks):
        mine = np.flatnonzero(of_task == k)
        if feed.by_class:
            kinds = np.unique(patches.labels)
            dealt = kinds[deal(rng, len(kinds), len(mine))]
            for kind in np.unique(dealt):
                places[mine[dealt == kind]] = rng.choice(np.flatnonzero(patches.labels == kind), (dealt == kind).sum())
        else:
            places[mine] = rng.integers(len(patches.labels), size=len(mine))
    return [moved(rng, task, place) for task, place in zip(of_task.tolist(), places.tolist(), strict=True)]


def moved(rng: np.random.Generator, task: int, place: int) -> Draw:
    """A place with a new position, turn and seed."""
    x, y = rng.uniform(-1, 1, 2)
    return Draw(task, place, (float(x), float(y)), int(rng.integers(8)), int(rng.integers(2**62)))


def deal(rng: np.random.Generator, kinds: int, n: int) -> np.ndarray:
    """int64 [n]: each of the kinds as often as the others, give or take one, in a random order."""
    return rng.permutation((rng.permutation(kinds)[:, None] + np.zeros(-(-n // kinds), int)).T.ravel()[:n])


def _by_size(rng: np.random.Generator, sizes: Sequence[int], n: int) -> np.ndarray:
    shares = np.cumsum(sizes) / np.sum(sizes)
    return np.minimum(np.searchsorted(shares, rng.random(n), side="right"), len(sizes) - 1)


def again(draws: Sequence[Draw], feed: Feed, step: int, *, view: int) -> list[Draw]:
    """Another view of the same places."""
    rng = np.random.default_rng([feed.seed, step, view])
    return [moved(rng, each.task, each.place) for each in draws]


def partners(draws: Sequence[Draw], feed: Feed, step: int) -> tuple[list[Draw], np.ndarray]:
    """Second patches of pairs, and which pairs are alike (bool [n], every other): alike is the same place again.

    Of those that are not, NEAR are another place of the same image where it has one, the rest of another group.
    """
    rng = np.random.default_rng([feed.seed, step, 1])
    alike = np.arange(len(draws)) % 2 == 0
    same = again(draws, feed, step, view=2)
    return [same[k] if alike[k] else _unlike(rng, one, feed.tasks) for k, one in enumerate(draws)], alike


def _unlike(rng: np.random.Generator, one: Draw, tasks: Sequence[Patches]) -> Draw:
    patches = tasks[one.task]
    image = patches.image[one.place]
    near = np.flatnonzero(patches.image == image)
    if len(near) > 1 and rng.random() < NEAR:
        return moved(rng, one.task, int(rng.choice(near[near != one.place])))
    group = patches.images[image].group
    for _ in range(20):
        place = int(rng.integers(len(patches.labels)))
        if patches.images[patches.image[place]].group != group:
            break
    return moved(rng, one.task, place)
