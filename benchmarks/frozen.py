"""Steps a second of a head for signet ring cells on geryon-s-research: nothing, the encoder or all else frozen.

python -m benchmarks.frozen [steps]; one thread, batches of 8 crops of 256 px, rounds in turn, medians.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace

import torch

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


def step(made: Learner, images: torch.Tensor) -> float:
    """Seconds of one step: forward, backward, update."""
    begun = time.perf_counter()
    logits = made.network(images, {"signet_ring": torch.arange(len(images))})
    made.optimizer.zero_grad(set_to_none=True)
    sum(value.square().mean() for name, value in logits.items() if name.startswith("signet_ring")).backward()
    made.optimizer.step()
    return time.perf_counter() - begun


def main(steps: int) -> None:
    """Print a line each."""
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (BATCH, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
    made = {freeze: learner(freeze) for freeze in ("[]", "[encoder]", "true")}
    seconds: dict[str, list[float]] = {freeze: [] for freeze in made}
    for number in range(steps + 1):
        for freeze, each in made.items():
            taken = step(each, images)
            seconds[freeze] += [taken] if number else []  # the first one warms up
    for freeze, each in seconds.items():
        print(f"freeze: {freeze:10} {1 / statistics.median(each):.2f} steps/s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
