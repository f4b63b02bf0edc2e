"""From packed samples and settings to the batch of any step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from geryon.errors import UsageError
from geryon.train import batches, processes, sampling
from geryon.train.batches import Batch, Crop, MapShape, Sample
from geryon.train.losses import get_loss
from geryon.train.settings import LoopSettings


def make_feed(samples: Sequence[Sample], losses: Mapping[str, str], settings: LoopSettings) -> sampling.Feed:
    """What batches are drawn from, rare classes more often where the settings say so."""
    weights = np.ones(len(samples))
    for name in class_maps(losses) if settings.rare_power else ():
        weights *= sampling.rare_weights(batches.class_counts(samples, name), settings.rare_power)
    sources = [s.source for s in samples]
    apart = frozenset(settings.apart)
    _check_apart(apart, frozenset(sources))
    sizes = [(s.image.shape[0], s.image.shape[1]) for s in samples]

    def pool(left_out: frozenset[str]) -> sampling.Pool:
        shares = {**settings.shares, **dict.fromkeys(left_out, 0.0)}
        return sampling.make_pool(sizes, sources, shares=shares, weights=list(weights))

    return sampling.Feed(
        pool=pool(apart),
        apart=pool(frozenset(sources) - apart) if apart else None,
        apart_every=settings.apart_every,
        apart_chance=settings.apart_chance,
        fixed=settings.batches == "fixed",
    )


def _check_apart(apart: frozenset[str], sources: frozenset[str]) -> None:
    strangers = sorted(apart - sources)
    if strangers or (apart and apart == sources):
        raise UsageError(
            what=f"no samples are of {', '.join(strangers)}" if strangers else "every source is kept apart",
            where="apart",
            mend=f"the sources are: {', '.join(sorted(sources))}",
        )


def class_maps(losses: Mapping[str, str]) -> list[str]:
    """Maps whose channels are classes."""
    return [name for name, loss in losses.items() if get_loss(loss).channels == "classes"]


def class_weights(samples: Sequence[Sample], name: str, power: float) -> tuple[float, ...]:
    """A weight for each class of the map, rarer classes more, to `power`; 1 for the mean pixel. () for power 0."""
    if not power:
        return ()
    counts = batches.class_counts(samples, name).sum(axis=0)
    there = counts > 0
    rarity = np.where(there, counts.sum() / np.maximum(counts, 1e-9) / max(1, there.sum()), 1.0) ** power
    mean = float((counts * rarity).sum() / max(counts.sum(), 1e-9)) or 1.0
    return tuple((rarity / mean).clip(1 / 16, 16).tolist())


def make_batch(
    step: int, *, samples: Sequence[Sample], shapes: Mapping[str, MapShape], feed: sampling.Feed, settings: LoopSettings
) -> Batch:
    """The batch of a step, from its number alone; of several processes each makes its own crops of it."""
    draws = sampling.draw(feed, step, batch=settings.batch, crop_px=settings.crop_px, seed=settings.seed)
    own = draws[processes.rank() :: processes.count()]
    images, targets, weights = batches.assemble(samples, shapes, own, settings.crop_px, settings.augment)
    crops = tuple(Crop(samples[d.sample].source, samples[d.sample].name, d.x_px, d.y_px) for d in own)
    return Batch(step=step, images=images, targets=targets, weights=weights, crops=crops)
