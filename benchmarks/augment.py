"""How many crops a second does one core augment, and does a training run wait for its batches?

    python -m benchmarks.augment [--crop-px 256] [--steps 24]

A line for each augmentation alone and each preset: crops a second of one core's time of all that makes a batch (cut,
deform, colour, targets). Then the share of its time that a run of geryon-s waits for batches, with and without threads
that prepare them (`--steps 0` leaves it out). The samples are synthetic tissue.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import asdict, replace
from functools import partial
from itertools import count, islice
from pathlib import Path

import cv2

from benchmarks.machine import Seconds, interleaved, say
from geryon.nets.model import heads_of
from geryon.nets.topologies.geryon_s import build
from geryon.tasks.task import get_task
from geryon.train import batches, feeding, loop
from geryon.train.augment_settings import AugmentSettings
from geryon.train.pack import sample_of
from geryon.train.packed import Sample
from geryon.train.presets import OFF, PRESETS
from geryon.train.settings import LoopSettings
from geryon.train.source import get_source

OWN = AugmentSettings()
COLOURS = ("stain", "stain_shift", "brightness", "white_balance", "contrast", "saturation", "hue_degrees")
ALONE: dict[str, AugmentSettings] = {
    "none": OFF,
    "zoom": replace(OFF, warp_chance=1, zoom=0.2),
    "zoom, turn, bend": replace(OFF, warp_chance=1, zoom=0.2, turn_degrees=30, bend=100),
    "stain, brightness, contrast, hue": replace(OFF, colour_chance=1, **{k: asdict(OWN)[k] for k in COLOURS}),
    "hue and saturation in HSV": replace(OFF, colour_chance=1, hsv=0.1),
    "blur": replace(OFF, blur_chance=1),
    "noise": replace(OFF, noise_chance=1),
    "JPEG": replace(OFF, jpeg_chance=1),
    "coarser": replace(OFF, coarser_chance=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crop-px", type=int, default=256)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    tasks = [get_task(name) for name in ("nuclei", "glands", "lumina", "tissue")]
    cases = islice(get_source("synthetic").cases(Path()), 4)
    samples = [sample_of(case, "synthetic", tasks) for case in cases]
    losses = {f"{t.name}/{m.name}": m.loss for t in tasks for m in t.maps}
    settings = LoopSettings(
        batch=8,
        crop_px=args.crop_px,
        steps=max(1, args.steps),
        log_steps=max(1, args.steps),
        minutes=0,
        keep_minutes=60,
    )
    for name, taken in augmented(samples, losses, settings, args.rounds).items():
        timed = taken.rate(settings.batch, of="cpu")
        size = {"crop_px": args.crop_px}
        say("augment", f"crops by {name}", **timed, unit="crops/core second", better="higher", size=size)
    for threads in (0, settings.threads) if args.steps else ():
        with tempfile.TemporaryDirectory() as out:
            loop.train(
                build({}, heads_of(tasks, 0.5)), samples, losses, replace(settings, threads=threads), out=Path(out)
            )
            [row] = csv.DictReader((Path(out) / "log.csv").open(encoding="utf-8"))
        threaded = "a thread a core prepares" if threads else "nothing prepares"
        say(
            "augment",
            f"share of a training run that waits for batches, {threaded}",
            value=float(row["waiting"]),
            unit="share",
            size={"crop_px": args.crop_px, "steps": args.steps},
            crops_a_second=float(row["crops_per_second"]),
        )


def augmented(samples: list[Sample], losses: dict[str, str], settings: LoopSettings, rounds: int) -> dict[str, Seconds]:
    """By augmentation, what a batch takes, the augmentations in turn."""
    cv2.setNumThreads(1)
    shapes = batches.map_shapes(samples, tuple(losses))
    feed, step = feeding.make_feed(samples, losses, settings), count()

    def make(colours: AugmentSettings) -> None:
        told = replace(settings, augment=colours)
        feeding.make_batch(next(step), samples=samples, shapes=shapes, feed=feed, settings=told)

    every = ALONE | {f"preset {name}": preset for name, preset in PRESETS.items()}
    return interleaved({name: partial(make, colours) for name, colours in every.items()}, rounds)


if __name__ == "__main__":
    main()
