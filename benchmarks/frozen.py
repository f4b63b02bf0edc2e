"""How much faster is a training step where the encoder, or all but the new head, is frozen?

    python -m benchmarks.frozen [--rounds 5]

A head for signet ring cells on geryon-s-research; one thread, batches of 8 crops of 256 px, in turn.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial

import torch

from benchmarks.machine import interleaved, ratio_of, say
from geryon.train.begin import build
from geryon.train.check import start_document
from geryon.train.learner import Learner, choose_place, set_up
from geryon.train.recipe import parse_recipe
from geryon.train.transfer import plan

RECIPE = """
name: a
licence: research
tasks: [signet_ring]
net: {start: geryon-s-research, freeze: FREEZE}
sources: [{name: synthetic_signet}]
"""
BATCH, SIDE_PX = 8, 256


def learner(freeze: str) -> Learner:
    """Ready for its first step."""
    recipe = parse_recipe(RECIPE.replace("FREEZE", freeze))
    network = build(recipe, plan(recipe, start_document(recipe)), lambda event: None)
    return set_up(network, recipe.train, choose_place(replace(recipe.train, device="cpu", precision="float32")))


def step(made: Learner, images: torch.Tensor) -> None:
    """Forward, backward, update."""
    logits = made.network(images, {"signet_ring": torch.arange(len(images))})
    made.optimizer.zero_grad(set_to_none=True)
    sum(value.square().mean() for name, value in logits.items() if name.startswith("signet_ring")).backward()
    made.optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (BATCH, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
    frozen = {"nothing": "[]", "the encoder": "[encoder]", "all but the head": "true"}
    taken = interleaved({name: partial(step, learner(what), images) for name, what in frozen.items()}, args.rounds)
    size = {"batch": BATCH, "crop_px": SIDE_PX}
    for name, each in taken.items():
        say("frozen", f"a step, {name} frozen", **each.each(1), unit="s", size=size)
    for name in list(frozen)[1:]:
        ratio = ratio_of(taken["nothing"], taken[name])
        say("frozen", f"steps with {name} frozen against none", **ratio, unit="ratio", better="higher", size=size)


if __name__ == "__main__":
    main()
