"""Where to look: draws that know sizes and shares, and never a pixel.

A draw depends on the seed and the step alone, so a resumed run continues exactly and the number of
workers changes nothing. Batches are mixed or fixed:

- mixed: the places of a batch are dealt to the sources by systematic sampling (one random offset, then even
  steps through the shares), so that the sources' part in a batch varies by at most one crop. That keeps the
  statistics of batch norms those of the mixture, not of the last source.
- fixed: a batch is of one source, the sources in turn, each as often as its share says.

Either way some sources can be kept apart (those that only name the tissue of a whole crop): they fill every
n-th batch, or a batch with a chance, and the other batches have none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geryon.errors import InputError, UsageError

GRID_PX = 32
"""Origins of crops are multiples of it, so that the coarsest map's pixels are never cut."""
TURNS = 8
"""Elements of the dihedral group: 0..3 quarter turns, 4..7 the same after a left-right flip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One crop: which sample, where, how turned, and the seed of its augmentation."""

    sample: int
    x_px: int
    """Left edge in the sample; negative where the sample is smaller than the crop."""
    y_px: int
    turn: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What can be drawn: sizes of all samples and the chance of each within its source."""

    sizes_px: np.ndarray
    """int64 [sample, 2]: height, width."""
    members: tuple[np.ndarray, ...]
    """Per source the indices of its samples."""
    chances: tuple[np.ndarray, ...]
    """Per source the cumulated chance of its samples."""
    shares: np.ndarray
    """Share of each source; 1 in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Where each step's batch is drawn from."""

    pool: Pool
    apart: Pool | None = None
    """Sources that fill batches of their own."""
    apart_every: int = 0
    """They fill steps 0, n, 2n, ...; 0: by chance."""
    apart_chance: float = 0.0
    fixed: bool = False
    """A batch is of one source."""


def make_pool(
    sizes_px: Sequence[tuple[int, int]],
    sources: Sequence[str],
    *,
    shares: Mapping[str, float] | None = None,
    weights: Sequence[float] | None = None,
) -> Pool:
    """The pool of samples of these sizes (height, width); a source that `shares` leaves out has share 1.

    Within a source a sample's chance is its area times its weight, so every pixel is as likely; a larger
    weight for samples with rare classes balances them.
    """
    if not sizes_px:
        raise InputError(what="there is no sample to learn from", mend="check the recipe's sources and their roots")
    found, wanted = sorted(set(sources)), dict(shares or {})
    strangers = sorted(set(wanted) - set(found))
    if strangers:
        raise UsageError(
            what=f"shares name sources that have no samples: {', '.join(strangers)}",
            where="shares",
            mend=f"use the names of the pack: {', '.join(found)}",
        )
    names = [name for name in found if wanted.get(name, 1.0) > 0]
    if not names:
        raise UsageError(what="every source has share 0", where="shares", mend="give one of them more")
    sizes = np.asarray(sizes_px, np.int64).reshape(-1, 2)
    likely = sizes.prod(axis=1).astype(np.float64) * (1.0 if weights is None else np.asarray(weights, np.float64))
    of = np.asarray(sources)
    members = tuple(np.flatnonzero((of == name) & (likely > 0)) for name in names)
    empty = [name for name, m in zip(names, members, strict=True) if len(m) == 0]
    if empty:
        raise InputError(
            what=f"all samples of a source weigh nothing: {', '.join(empty)}", mend="give the source share 0"
        )
    share = np.array([wanted.get(name, 1.0) for name in names])
    chances = tuple(np.cumsum(likely[m]) / likely[m].sum() for m in members)
    return Pool(sizes_px=sizes, members=members, chances=chances, shares=share / share.sum())


def rare_weights(counts: np.ndarray, power: float) -> np.ndarray:
    """float64 [sample]: how much rarer than usual the classes of each sample are, to `power`; 1 without classes.

    `counts` [sample, class] are labelled pixels. Kept in 1/8..8 so that no sample rules.
    """
    of_class = counts.sum(axis=0)
    rarity = of_class.sum() / np.maximum(of_class, 1e-9) / max(1, np.count_nonzero(of_class))
    of_sample = counts.sum(axis=1)
    mean = (counts * rarity).sum(axis=1) / np.maximum(of_sample, 1e-9)
    weights: np.ndarray = np.where(of_sample > 0, mean, 1.0) ** power
    return weights.clip(0.125, 8.0)


def draw(feed: Feed, step: int, *, batch: int, crop_px: int, seed: int) -> tuple[Draw, ...]:
    """The crops of one step's batch."""
    rng = np.random.default_rng([seed, step])
    apart = is_apart(feed, step, seed)
    pool = feed.apart if apart and feed.apart is not None else feed.pool
    sources = _turn(pool.shares, _before(feed, step, apart), batch) if feed.fixed else _mixture(pool, batch, rng)
    return tuple(_draw_one(pool, int(source), crop_px, rng) for source in sources)


def is_apart(feed: Feed, step: int, seed: int) -> bool:
    """True where the sources that are kept apart fill the step's batch."""
    if feed.apart is None:
        return False
    if feed.apart_every:
        return step % feed.apart_every == 0
    return float(np.random.default_rng([seed, step, 1]).random()) < feed.apart_chance


def _mixture(pool: Pool, batch: int, rng: np.random.Generator) -> np.ndarray:
    places = (np.arange(batch) + rng.random()) / batch
    found = np.searchsorted(np.cumsum(pool.shares), places, side="right")
    return np.minimum(found, len(pool.members) - 1)


def _before(feed: Feed, step: int, apart: bool) -> int:
    """How many batches of this step's kind came before it; by chance the number of steps stands for it."""
    if feed.apart is None or not feed.apart_every:
        return step
    kept_apart = -(-step // feed.apart_every)
    return kept_apart if apart else step - kept_apart


def _turn(shares: np.ndarray, turn: int, batch: int) -> np.ndarray:
    return np.full(batch, whose_turn(shares, turn))


def whose_turn(shares: np.ndarray, turn: int) -> int:
    """The source of that turn: the k-th turn of a source is due at (k + 1/2) / share, the earliest comes first.

    Stride scheduling (Waldspurger & Weihl 1995), told from the number of the turn alone; equal shares give 0, 1, 2,
    0, 1, 2, ... Only turns near the one asked for are looked at.

    >>> [whose_turn(np.array([0.5, 0.25, 0.25]), turn) for turn in range(8)]
    [0, 1, 2, 0, 0, 1, 2, 0]
    """
    skipped = np.maximum(0, np.floor((turn - len(shares)) * shares).astype(int) - 1)
    many = np.ceil(2 * len(shares) * shares).astype(int) + 3
    due = [
        (round((k + 0.5) / float(share), 6), source)
        for source, share in enumerate(shares)
        for k in range(skipped[source], skipped[source] + many[source])
    ]
    return sorted(due)[turn - int(skipped.sum())][1]


def _draw_one(pool: Pool, source: int, crop_px: int, rng: np.random.Generator) -> Draw:
    at = int(np.searchsorted(pool.chances[source], rng.random(), side="right"))
    sample = int(pool.members[source][min(at, len(pool.members[source]) - 1)])
    height, width = pool.sizes_px[sample]
    return Draw(
        sample=sample,
        y_px=_origin(int(height), crop_px, rng),
        x_px=_origin(int(width), crop_px, rng),
        turn=int(rng.integers(TURNS)),
        seed=int(rng.integers(2**63)),
    )


def _origin(side_px: int, crop_px: int, rng: np.random.Generator) -> int:
    room = (side_px - crop_px) // GRID_PX if side_px >= crop_px else -((crop_px - side_px) // GRID_PX)
    return GRID_PX * int(rng.integers(min(room, 0), max(room, 0) + 1))
