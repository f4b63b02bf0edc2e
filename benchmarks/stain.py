"""Does stain normalisation help under a stain that training never saw?

    python -m benchmarks.stain [--data DIR] [--model geryon-s] [--target]

A line a source, stain and method: nuclei PQ without normalisation and with each method, on images that the model's
document names as held out. A stain is a change of the images' own haematoxylin and eosin in optical density, far beyond
what training draws. `--target` prints the numbers of the training images that macenko.py and reinhard.py hold. Each
image is normalised by itself, which is harder than a slide: it has less tissue. Without the data it says so and exits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.machine import say, skip
from geryon.nets.model import Model, load_model
from geryon.slides import macenko, normalise, reinhard
from geryon.slides.array import slide_of_image
from geryon.slides.stains import AMOUNTS, UNIT_STAINS
from geryon.slides.tissue import low_power, tissue_mask
from geryon.train.evaluate import Look, evaluate
from geryon.train.source import Case, get_source

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SOURCES = ("consep", "tnbc")
METHODS = ("", *normalise.NORMALISERS)


@dataclass(frozen=True, slots=True)
class Stain:
    """Another laboratory: each stain's amount times `times`, on vectors turned towards others."""

    times: tuple[float, float] = (1.0, 1.0)
    vectors: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [y, x, 3]."""
        amounts = -np.log((image.astype(np.float64) + 1.0) / 256.0) @ AMOUNTS.T * [*self.times, 1.0]
        own = UNIT_STAINS.T
        if self.vectors is not None:
            two = np.array(self.vectors)
            own = np.vstack([two / np.linalg.norm(two, axis=1, keepdims=True), own[2:]])
        return (256.0 * np.exp(-amounts @ own) - 0.5).clip(0, 255).astype(np.uint8)


STAINS = {
    "as scanned": Stain(),
    "haematoxylin 0.5, eosin 1.6": Stain((0.5, 1.6)),
    "haematoxylin 1.7, eosin 0.5": Stain((1.7, 0.5)),
    "both 0.4 (faded)": Stain((0.4, 0.4)),
    "both 1.8 (dark)": Stain((1.8, 1.8)),
    "violet haematoxylin, orange eosin": Stain(vectors=((0.5, 0.8, 0.33), (0.05, 0.8, 0.6))),
    "blue haematoxylin, violet eosin": Stain(vectors=((0.78, 0.6, 0.17), (0.25, 0.95, 0.2))),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--target", action="store_true", help="print the target's numbers and measure nothing else")
    args = parser.parse_args()
    if not all((args.data / name).is_dir() for name in SOURCES):
        skip("stain", "nuclei PQ under other stains", "consep and tnbc are not under --data")
        return 0
    net = load_model(args.model, tasks="nuclei")
    if args.target:
        sys.stdout.write(json.dumps(target(net, args.data)) + "\n")
        return 0
    for name in SOURCES:
        held = [case for case in get_source(name).cases(args.data / name) if is_held_out(case, net, name)]
        for stain, change in STAINS.items():
            for method in METHODS:
                value, low, high, left = pq(net, held, change, method)
                told = {"value": value, "low": low, "high": high, "left_as_they_were": left}
                size = {"source": name, "images": len(held), "model": args.model, "stain": stain}
                say(
                    "stain", f"nuclei PQ, {method or 'no'} normalisation", **told, unit="PQ", better="higher", size=size
                )
    return 0


def is_held_out(case: Case, net: Model, source: str) -> bool:
    """True where training did not see the case, by the model's own document."""
    held = net.document.held_out.get(source, ())
    return case.group in held or case.name in held


def pq(net: Model, cases: list[Case], stain: Callable, method: str) -> tuple[float, float, float, int]:
    """Panoptic quality pooled, its interval, and how many images could not be normalised."""
    unfit: list[str] = []

    def seen(case: Case) -> np.ndarray:
        image = stain(case.image())
        change = of_image(image, case.mpp, method)
        unfit.extend([change.reason] if change.reason else [])
        return change(image)

    changed = [replace(case, image=lambda case=case: seen(case)) for case in cases]
    row = evaluate(net, changed, look=Look(draws=300)).figure("nuclei", "pq")
    assert row is not None
    return row.value, row.low, row.high, len(unfit)


def of_image(image: np.ndarray, mpp: float, method: str) -> normalise.Normalised:
    """What segment would do with the image as a slide."""
    with slide_of_image(image, mpp=mpp) as slide:
        low = low_power(slide)
        return normalise.normalised(slide, tissue_mask(slide, low), low, method)


def target(net: Model, data: Path) -> dict[str, object]:
    """The median over each source's training images, the sources alike."""
    found = [numbers(source, net, data) for source in SOURCES]
    mean = {key: np.mean([f[key] for f in found], axis=0) for key in found[0]}
    mean["vectors"] /= np.linalg.norm(mean["vectors"], axis=1, keepdims=True)
    return {key: np.round(value, 0 if key == "glass" else 3).tolist() for key, value in mean.items()}


def numbers(source: str, net: Model, data: Path) -> dict[str, np.ndarray]:
    """Medians over the images of a source that training saw, as slides; `used` is the share that could be estimated."""
    stains, colours, count = [], [], 0
    for case in get_source(source).cases(data / source):
        if is_held_out(case, net, source):
            continue
        count += 1
        with slide_of_image(case.image(), mpp=case.mpp) as slide:
            low = low_power(slide)
            pixels = normalise.sample_of(slide, tissue_mask(slide, low))
            glass = normalise.glass_of(low.image, pixels)
        try:
            stains.append(macenko.stains_of(pixels, glass))
            colours.append(reinhard.colours_of(pixels, glass))
        except normalise.Unfit:
            continue
    found = {name: np.median([getattr(s, name) for s in stains], axis=0) for name in ("vectors", "strengths", "glass")}
    found |= {name: np.median([c[i] for c in colours], axis=0) for i, name in enumerate(("mean", "spread"))}
    return found | {"used": np.array(len(stains) / count)}


if __name__ == "__main__":
    sys.exit(main())
