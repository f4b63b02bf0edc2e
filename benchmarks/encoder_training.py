"""How many patches a second does an encoder learn from, and what does that take?

    python -m benchmarks.encoder_training [--rounds 3] [--batch 64] [--data DATA]

One line a body: patches that one core takes forward and backward in a second (heads, clip, optimiser too; the patches
are there already), with the multiplications of one patch through the body beside. One line a preset of augmentation:
patches that one core cuts, turns, deforms and colours in a second. Two lines for what the papers train beside the
encoder, at their width and at that of the recipes: multiplications over those of nic-64. With --data, the images of the
six sources that are there, as they are held in memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import interleaved, say, skip
from geryon.errors import GeryonError
from geryon.train.encoders.bodies import make_body
from geryon.train.encoders.draws import Feed
from geryon.train.encoders.feeding import make_batch
from geryon.train.encoders.fit import feed_of, objective_of
from geryon.train.encoders.loop import step_once
from geryon.train.encoders.patches import PATCH_TASKS, Image, Patches, gather, get_patch_task
from geryon.train.encoders.recipe import BODIES, EncoderRecipe, parse_encoder_recipe
from geryon.train.learner import choose_place, set_up

NAME = "encoder_training"
TASKS = ("glas", "kather")
TRAINED = tuple(name for name in BODIES if name != "mean-rgb")
AUGMENTED = ("default", "basic", "hed-light")
OF_PAPERS = {"vae": "decoder", "bigan": "painter"}
"""Objective -> what of it makes patches of codes."""
WIDTHS = (1.0, 0.25)
SIDE_PX = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    learning(args.batch, args.rounds)
    feeding(args.batch, args.rounds)
    beside()
    if args.data is not None:
        held(args.data)


def recipe_of(batch: int = 16, *, preset: str = "", **encoder: Any) -> EncoderRecipe:
    """A recipe for that body or objective, on one thread."""
    train: dict[str, Any] = {"batch": batch, "threads": 0, "device": "cpu", "precision": "float32"}
    train |= {"augment": {"preset": preset}} if preset else {}
    raw = {"name": NAME, "licence": "research", "encoder": encoder, "tasks": list(TASKS), "train": train}
    return parse_encoder_recipe(raw, folder=Path(), where=NAME)


def fed(recipe: EncoderRecipe, network: nn.Module) -> Feed:
    """Places on images of smooth noise, which take what tissue takes."""
    rng = np.random.default_rng(0)
    return feed_of(recipe, [_noise(rng, name) for name in recipe.tasks], network)


def _noise(rng: np.random.Generator, name: str) -> Patches:
    task = get_patch_task(name)
    pixels = cv2.GaussianBlur(rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8), (0, 0), 2)
    image = Image(task=name, source=task.source, group="g", name="i", stratum="", pixels=pixels, mpp=0.5)
    places = 64
    return Patches(
        task=task,
        images=(image,),
        image=np.zeros(places, int),
        xy_um=rng.uniform(32, SIDE_PX / 2 - 32, (places, 2)),
        labels=np.arange(places) % len(task.classes),
    )


def learning(batch: int, rounds: int) -> None:
    """Forward and backward, body by body, in turn."""
    calls, sizes = {}, {}
    for name in TRAINED:
        recipe = recipe_of(batch, body=name)
        body = make_body(recipe)
        sizes[name] = multiplications(body.module, torch.zeros(1, 3, 128, 128, dtype=torch.uint8))
        calls[name] = step_of(recipe, objective_of(recipe, body))
    for name, taken in interleaved(calls, rounds).items():
        say(
            NAME,
            f"patches that {name} learns from",
            **taken.rate(batch, of="cpu"),
            unit="patches/core second",
            better="higher",
            size={"body": name, "batch": batch},
            million_multiplications_a_patch=sizes[name] / 1e6,
        )


def step_of(recipe: EncoderRecipe, network: nn.Module) -> Callable[[], object]:
    """One step on a batch that is there already."""
    settings = recipe.train
    learner = set_up(network, settings.loop(), choose_place(settings.loop()))
    return partial(step_once, learner, make_batch(0, fed(recipe, network)), settings, settings.lr)


def feeding(batch: int, rounds: int) -> None:
    """Making batches, preset by preset, in turn."""
    calls = {}
    for name in AUGMENTED:
        recipe = recipe_of(batch, preset="" if name == "default" else name)
        feed, step = fed(recipe, objective_of(recipe, make_body(recipe))), count()
        calls[name] = partial(_made, feed, step)
    for name, taken in interleaved(calls, rounds).items():
        say(
            NAME,
            f"patches made with augmentation {name}",
            **taken.rate(4 * batch, of="cpu"),
            unit="patches/core second",
            better="higher",
            size={"augment": name, "batch": batch},
        )


def _made(feed: Feed, step: Iterable[int]) -> None:
    for _, number in zip(range(4), step, strict=False):
        make_batch(number, feed)


def beside() -> None:
    """What the papers' VAE and BiGAN train beside the encoder, over the encoder."""
    patch = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    for objective, part in OF_PAPERS.items():
        for width in WIDTHS:
            recipe = recipe_of(objective=objective, width=width)
            network = objective_of(recipe, make_body(recipe)).eval()
            own = multiplications(network.encoder, patch)
            say(
                NAME,
                f"multiplications of the {part} of {objective} over those of nic-64",
                value=multiplications(network.get_submodule(part), torch.zeros(1, recipe.encoder.code)) / own,
                unit="ratio",
                size={"objective": objective, "width": width},
            )


def multiplications(module: nn.Module, given: torch.Tensor) -> float:
    """Of one patch or code, as torch counts them: an addition goes with each."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(given)
    module.train()
    return counter.get_total_flops() / 2


def held(data: Path) -> None:
    """Bytes of the images of each task's source."""
    for name in PATCH_TASKS:
        question = f"images of {name} held in memory"
        try:
            images = gather(get_patch_task(name), data, patch_um=64.0, mpp=0.5).images
        except GeryonError as error:
            skip(NAME, question, str(error))
            continue
        size = {"task": name, "images": len(images)}
        say(NAME, question, value=sum(image.pixels.nbytes for image in images) / 1e6, unit="MB", size=size)


if __name__ == "__main__":
    main()
