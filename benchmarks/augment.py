"""Crops a second on one core by each augmentation, and whether a training run waits for its batches.

    python -m benchmarks.augment [--crop-px 256] [--steps 24]

One JSON line for each augmentation alone and each preset: crops a second of one core's time of all that makes a batch
(cut, deform, colour, targets). Then the share of its time that a run of geryon-s waits for batches, with and without
threads that prepare them. The samples are synthetic tissue.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from statistics import median
from time import thread_time

import cv2

from benchmarks.machine import about, say
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
    args = parser.parse_args()
    tasks = [get_task(name) for name in ("nuclei", "glands", "lumina", "tissue")]
    cases = islice(get_source("synthetic").cases(Path()), 4)
    samples = [sample_of(case, "synthetic", tasks) for case in cases]
    losses = {f"{t.name}/{m.name}": m.loss for t in tasks for m in t.maps}
    settings = LoopSettings(
        batch=8, crop_px=args.crop_px, steps=args.steps, log_steps=args.steps, minutes=0, keep_minutes=60
    )
    for name, crops in crops_a_second(samples, losses, settings).items():
        say(augmentation=name, crops_a_second=round(crops, 1), crop_px=args.crop_px)
    for threads in (0, settings.threads):
        with tempfile.TemporaryDirectory() as out:
            loop.train(
                build({}, heads_of(tasks, 0.5)), samples, losses, replace(settings, threads=threads), out=Path(out)
            )
            [row] = csv.DictReader((Path(out) / "log.csv").open(encoding="utf-8"))
        threaded = "one a core" if threads else "none"
        waiting, speed = float(row["waiting"]), float(row["crops_per_second"])
        say(threads=threaded, waiting=waiting, crops_a_second=speed, crop_px=args.crop_px, **about())


def crops_a_second(samples: list[Sample], losses: dict[str, str], settings: LoopSettings) -> dict[str, float]:
    """By augmentation, the median of seven batches, in turn, by the time of this thread: other load does not count."""
    cv2.setNumThreads(1)
    shapes = batches.map_shapes(samples, tuple(losses))
    feed, step = feeding.make_feed(samples, losses, settings), iter(range(10**6))

    def seconds(colours: AugmentSettings) -> float:
        told, began = replace(settings, augment=colours), thread_time()
        feeding.make_batch(next(step), samples=samples, shapes=shapes, feed=feed, settings=told)
        return thread_time() - began

    every = ALONE | {f"preset {name}": preset for name, preset in PRESETS.items()}
    rounds = [{name: seconds(colours) for name, colours in every.items()} for _ in range(8)][1:]
    return {name: settings.batch / median(times[name] for times in rounds) for name in every}


if __name__ == "__main__":
    main()
