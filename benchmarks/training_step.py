"""Does training keep the network busy? Steps a second of the loop against the bare forward + backward pass.

    python -m benchmarks.training_step [--samples PACK --recipe RECIPE] [--steps 8] [--rounds 3] [--batch 8]

A step of the loop waits for its batch, which threads prepare (draw, cut, turn, colour, stack), goes
forward and backward, clips, moves the weights and their average, and sums up the log. The bare pass is forward and
backward of the same batches, which are there already. Both in turn, `share` is the median over rounds of loop speed /
bare speed. `processor_share` is the same in processor seconds of all threads, which other work on the machine does
not change; on a card it says nothing. Without a pack, images are smooth noise, each labelled for one task, as the
sources are.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import cv2
import numpy as np
import torch

from benchmarks.machine import say
from geryon.nets.model import heads_of
from geryon.train import batches, curves
from geryon.train.begin import build
from geryon.train.feeding import make_batch, make_feed
from geryon.train.fit import Where, loop_settings
from geryon.train.learner import choose_place, set_up
from geryon.train.loop import _threads, make_aims
from geryon.train.packed import Sample, load_pack
from geryon.train.recipe import Recipe, read_recipe
from geryon.train.step import backward, step_once
from geryon.train.transfer import plan

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "geryon-s.yaml"
SIDE_PX = 640


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop-px", type=int, default=256)
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    recipe = replace(recipe, net=replace(recipe.net, start=""))
    samples = list(load_pack(args.samples)) if args.samples else made_up(recipe)
    loop, bare, waited, processor = measured(recipe, samples, args)
    shares = [b / a for a, b in zip(loop, bare, strict=True)]
    say(
        "training_step",
        "speed of the loop over that of bare forward and backward passes",
        value=statistics.median(shares),
        unit="share",
        low=min(shares),
        high=max(shares),
        rounds=args.rounds,
        better="higher",
        size={
            "batch": args.batch,
            "crop_px": args.crop_px,
            "steps": args.steps,
            "pack": args.samples.name if args.samples else "noise",
            "network": recipe.net.name,
            "device": str(choose_place(recipe.train).device),
        },
        processor_share=statistics.median(processor),
        loop_steps_a_second=args.steps / statistics.median(loop),
        bare_steps_a_second=args.steps / statistics.median(bare),
        waiting=statistics.median(w / a for a, w in zip(loop, waited, strict=True)),
    )
    return 0


def made_up(recipe: Recipe) -> list[Sample]:
    """Samples of smooth noise, two a task, of as many sources as there are tasks."""
    rng = np.random.default_rng(0)
    samples = []
    for task in recipe.task_values():
        heads = heads_of((task,), recipe.mpp)
        for i in range(2):
            noise = cv2.GaussianBlur(rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.float32), (0, 0), 3)
            targets, weights = {}, {}
            for head in heads:
                side = SIDE_PX // head.stride
                of = rng.integers(0, head.channels, (side, side))
                one = head.channels == 1
                targets[head.name] = (
                    rng.integers(0, 2, (side, side, 1)) if one else of[..., None] == np.arange(head.channels)
                ).astype(np.uint8) * 255
                weights[head.name] = np.full((side, side), batches.WEIGHT_UNIT, np.uint8)
            image = np.clip((noise - 127) * 6 + 170, 0, 255).astype(np.uint8)
            samples.append(
                Sample(source=task.name, name=f"{i}", group=f"{i}", image=image, targets=targets, weights=weights)
            )
    return samples


def measured(
    recipe: Recipe, samples: list[Sample], args: argparse.Namespace
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Seconds of each round's steps in the loop, of the bare passes over the same batches, and of waiting; and the
    processor seconds of the bare passes over those of the loop."""
    sources = {s.source for s in samples}
    settings = loop_settings(recipe, Where())
    settings = replace(
        settings,
        batch=args.batch,
        crop_px=args.crop_px,
        steps=10_000,
        minutes=0.0,
        threads=-1,
        shares={name: share for name, share in settings.shares.items() if name in sources},
    )
    tasks = recipe.task_values()
    losses = {f"{t.name}/{m.name}": m.loss for t in tasks for m in t.maps}
    shapes = batches.map_shapes(samples, tuple(losses))
    aims = make_aims(samples, losses, shapes, settings, lambda event: None)
    learner = set_up(
        build(recipe, plan(recipe, None), lambda event: None), settings, choose_place(settings), tuple(aims)
    )
    feed = make_feed(samples, losses, settings)
    make = partial(make_batch, samples=samples, shapes={m: shapes[m] for m in aims}, feed=feed, settings=settings)
    loop, bare, waited, processor = [], [], [], []
    for turn in range(args.rounds + 1):
        numbers = range(turn * (args.steps + 1), (turn + 1) * (args.steps + 1))
        stream = batches.ahead(make, numbers, threads=_threads(settings), depth=settings.ahead)
        busy = process_time()
        next(stream)
        tally, kept, idle, began = curves.Tally(since=0, sources=curves.sources_of(samples, aims)), [], 0.0, now()
        for _ in range(args.steps):
            before = perf_counter()
            fed = (next(stream),)
            idle += perf_counter() - before
            tally.add(fed, step_once(learner, fed, aims, settings, 0.5), 0.0)
            kept.append(fed[0])
        loop.append(now() - began)
        waited.append(idle)
        stream.close()
        began, busy, in_loop = now(), process_time(), process_time() - busy
        for batch in kept:
            learner.optimizer.zero_grad(set_to_none=True)
            backward(learner, batch, aims, 1.0)
        bare.append(now() - began)
        processor.append((process_time() - busy) / in_loop)
    return loop[1:], bare[1:], waited[1:], processor[1:]


def now() -> float:
    """The clock, once the card has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()


if __name__ == "__main__":
    sys.exit(main())
