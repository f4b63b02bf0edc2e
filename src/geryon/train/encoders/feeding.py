"""From places and settings to the patches of any step."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geryon.train.augment import augment
from geryon.train.encoders.draws import Draw, Feed, again, draw, partners
from geryon.train.encoders.patches import cut
from geryon.train.warp import draw_warp


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One step's food."""

    step: int
    views: np.ndarray
    """uint8 [view, n, y, x, 3]"""
    task: np.ndarray
    """int64 [n]: index of each patch's task."""
    labels: np.ndarray
    """int64 [n]: class within its task."""
    alike: np.ndarray
    """bool [n]: both views are of one place."""


def make_batch(step: int, feed: Feed) -> Batch:
    """The batch of a step, from its number alone."""
    cv2.setNumThreads(1)  # patches are made by threads of ours
    first = draw(feed, step)
    views, alike = [first], np.ones(feed.batch, bool)
    if feed.pairs:
        second, alike = partners(first, feed, step)
        views.append(second)
    else:
        views += [again(first, feed, step, view=k + 2) for k in range(feed.views - 1)]
    return Batch(
        step=step,
        views=np.stack([np.stack([patch_of(each, feed) for each in view]) for view in views]),
        task=np.array([each.task for each in first]),
        labels=np.array([feed.tasks[each.task].labels[each.place] for each in first]),
        alike=alike,
    )


def patch_of(one: Draw, feed: Feed) -> np.ndarray:
    """uint8 [side_px, side_px, 3]: moved, turned, deformed and recoloured."""
    patches = feed.tasks[one.task]
    place_um = patches.xy_um[one.place] + np.array(one.move) * patches.task.jitter_um
    warp = draw_warp(one.seed, feed.augment, feed.side_px) if feed.augment.strength > 0 else None
    image = patches.images[patches.image[one.place]]
    patch = cut(image, xy_um=place_um, side_px=feed.side_px, mpp=feed.mpp, turn=one.turn, warp=warp)
    return augment(patch, np.random.default_rng(one.seed), feed.augment)
