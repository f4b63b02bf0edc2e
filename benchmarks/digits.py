"""Do the published trends hold on images strewn with digits, and what do the counts of digits alone tell?

    python -m benchmarks.digits [--train 1000 4000] [--numbers 16 4] [--seen 80000] [--out results/digits]

After Tellez et al. (arXiv 1811.02840, figure 6): `geryon synth --digits` -> codes -> the paper's CNN, one network for
each kind of code and number of images to learn from, asked about the test images. Codes are those of `geryon compress`
with the set's own PCA (Encoder.dense, which gives the same), or an oracle's: which digit has its middle in the cell.
All networks see equally many images (--seen) while they learn, so that those with fewer images see each more often. An
eighth of the training images validates. The bag of digits is the oracle's mean over all cells and a linear layer: it
knows how often each digit is there, and nothing of where. Answers are kept in --out, so the same command goes on after
a stop. With --seen 0 nothing but the counts is asked.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.machine import say
from geryon import __version__, events
from geryon.cohort.answering import answers_of
from geryon.cohort.document import EncoderUsed, SlideModelDocument, TargetDocument
from geryon.cohort.learn import Lesson, Part, learn
from geryon.cohort.models import filled, get_kind, kept, network_of
from geryon.cohort.needle_series import wilson
from geryon.cohort.results import write_table
from geryon.cohort.views import Slides, pooled
from geryon.cohort.volumes import Held
from geryon.flows.synth_digits import CODE, ENCODER, Digits, drawn, synth_digits
from geryon.nets.encoder import Encoder, load_encoder
from geryon.slides.reader import open_slide
from geryon.slides.synthetic.digits import CLASSES, STEP_PX, Draw, Layout, draw, layout
from geryon.tasks.intervals import drawings, span
from geryon.train.encoders.probe import ProbeSettings, answers

CEILINGS = {False: 0.5, True: 0.5625}
"""Legacy or not -> how often the best guess from the two digits is right, which rectangle is which unknown."""
BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Of the tilted rectangle's long side, in sides of the image."""
LAW_PX, LAW_DRAWS, LAW_IMAGES = 900, 8000, 2000
ORACLE, PCA = "oracle", "pca"
LEGIBLE = 100, 50
"""Images whose digits a probe learns to read, and images whose digits it is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One network."""

    code: str
    """ORACLE or PCA."""
    train: int
    """Images to learn from, those that validate among them."""
    model: str = "cnn"
    numbers: int = CLASSES
    """Length of a code."""
    stride_px: int = STEP_PX

    @property
    def name(self) -> str:
        return f"{self.model}-{self.code}{self.numbers}-stride{self.stride_px}-train{self.train}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What all runs share."""

    out: Path
    digits: Digits
    test: int
    seen: int
    """Images that a network sees while it learns, repetitions counted."""
    rate: float
    seed: int

    def numbers(self, train: int) -> list[int]:
        """Numbers of the images: to learn from (even), then to test on (odd)."""
        return [2 * k for k in range(train)] + [2 * k + 1 for k in range(self.test)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=450)
    parser.add_argument("--train", nargs="+", type=int, default=[1000, 4000], help="for the oracle's codes")
    parser.add_argument("--train-pca", type=int, default=1000, help="for codes of the PCA")
    parser.add_argument("--numbers", nargs="*", type=int, default=[16, 4], help="lengths of the PCA's codes")
    parser.add_argument("--strides-px", nargs="*", type=int, default=[6], help="smaller than the patch, 16 numbers")
    parser.add_argument("--test", type=int, default=1500)
    parser.add_argument("--seen", type=int, default=80000)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/digits"))
    args = parser.parse_args()
    for legacy, ceiling in CEILINGS.items():
        law(legacy, ceiling)
    settings = Digits(count=2 * max(args.train_pca, args.test), size_px=args.size_px)
    effort = Effort(out=args.out, digits=settings, test=args.test, seen=args.seen, rate=args.rate, seed=args.seed)
    runs = [Run(code=ORACLE, model="mean", train=max(args.train))]
    if args.seen:
        for numbers in sorted(args.numbers, reverse=True):
            legible(Run(code=PCA, train=LEGIBLE[0], numbers=numbers), effort)
        runs += [Run(code=ORACLE, train=n) for n in sorted(args.train)]
        runs += [Run(code=PCA, train=args.train_pca, numbers=n) for n in sorted(args.numbers, reverse=True)]
        runs += [Run(code=PCA, train=args.train_pca, numbers=CODE, stride_px=stride) for stride in args.strides_px]
    right = {run: run_lines(run, answered(run, effort), effort) for run in runs}
    for name, better, worse in pairs(runs):
        difference(name, right[better], right[worse], {"size_px": args.size_px, "than": worse.name, "is": better.name})
    return 0


def law(legacy: bool, ceiling: float) -> None:
    """Say how often somebody is right who sees the counts of the digits alone."""
    right, asked = told_by_counts(legacy=legacy, images=LAW_IMAGES)
    found = wilson(right, asked)
    say(
        "digits",
        "the label told by the counts of digits, where both rectangles show in them",
        **{"value": found.accuracy, "low": found.low, "high": found.high, "unit": "share"},
        size={"law": "legacy" if legacy else "ours", "size_px": LAW_PX, "images": LAW_IMAGES},
        ceiling=ceiling,
        holds=found.low <= ceiling,
        both_show=asked,
    )


def told_by_counts(*, legacy: bool, images: int, size_px: int = LAW_PX, seed: int = 2) -> tuple[int, int]:
    """(right, asked): images whose two most frequent digits are the rectangles', and how often the better guess of the
    two is right. Which is better was learnt from other draws, as the pair alone tells it."""
    others = (draw(i, seed=seed + 1, size_px=size_px, legacy=legacy) for i in range(LAW_DRAWS))
    known = Counter((d.label, d.distractor) for d in others)
    right = asked = 0
    for i in range(images):
        what = draw(i, seed=seed, size_px=size_px, legacy=legacy)
        where = layout(what, seed=seed, size_px=size_px, legacy=legacy)
        counts = np.bincount(where.digits, minlength=CLASSES)
        few, most = np.argsort(counts, kind="stable")[-2:].tolist()
        if {few, most} == {what.label, what.distractor}:
            asked += 1
            right += what.label == (most if known[most, few] >= known[few, most] else few)
    return right, asked


def answered(run: Run, effort: Effort) -> np.ndarray:
    """int64 [test image]: the digit that the run's network says; learnt and kept in a file where there is none yet."""
    shared = f"{effort.digits.size_px}px-seen{effort.seen}-rate{effort.rate:g}-test{effort.test}-seed{effort.seed}"
    path = effort.out / f"{run.name}-{shared}.csv"
    if not path.exists():
        begun = process_time()
        found = learnt(run, effort)
        rows = zip(effort.numbers(0), found.tolist(), strict=True)
        write_table(path, [["image", "answer"], *([str(n), str(answer)] for n, answer in rows)])
        spent = process_time() - begun
        say("digits", "to make codes, learn and answer", value=spent, unit="core s", size=size_of(run, effort))
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([int(row["answer"]) for row in csv.DictReader(file)])


def learnt(run: Run, effort: Effort) -> np.ndarray:
    """The answers of a new network."""
    numbers = effort.numbers(run.train)
    shelf = [in_memory(codes) for codes in (oracle if run.code == ORACLE else by_pca)(run, numbers, effort)]
    epochs = max(1, effort.seen // run.train)
    settings = get_kind(run.model).settings(
        # The rate falls after a third of what is seen brings no gain, however many images that is made of.
        {"cells": even(shelf[0].tissue.shape[0]), "epochs": epochs, "patience": max(1, epochs // 3)}
        | {"rate": effort.rate, "validation_crops": 1, "test_crops": 1}
    )
    slides = Slides(shelf=shelf, has_turns=False, settings=settings, measures=np.zeros((len(shelf), 0)))  # type: ignore[arg-type]
    document = SlideModelDocument(
        name="digits",
        version=__version__,
        model=run.model,
        settings=kept(settings),
        target=TargetDocument(kind="multiclass", columns=("digit",), classes=tuple(map(str, range(CLASSES)))),
        encoder=EncoderUsed(
            name=run.code, sha256="", code=run.numbers, mpp=1.0, patch_um=STEP_PX, stride_um=run.stride_px
        ),
        members=(),
    )
    kind = get_kind(run.model)
    seen = np.stack([pooled(slides, kind.sees, i) for i in range(len(shelf))]) if kind.is_convex else np.zeros((0, 0))
    truth = np.array([[shown(number, effort.digits).label] for number in numbers], float)
    lesson = Lesson(slides=slides, truth=truth, document=document, pooled=seen)
    held = run.train // 8
    part = Part(train=tuple(range(held, run.train)), validation=tuple(range(held)), seed=effort.seed)
    network = filled(network_of(document), learn(lesson, part, events.nobody).tensors)
    tests = range(run.train, len(shelf))
    return np.array([int(answers_of(document, [network], slides, i)[0].argmax()) for i in tests])


@cache
def shown(number: int, settings: Digits) -> Draw:
    """What an image shows."""
    return drawn(number, settings)[0]


def oracle(run: Run, numbers: Sequence[int], effort: Effort) -> Iterator[np.ndarray]:
    """uint8 [row, column, digit] of each image: 1 where a digit of that class has its middle in the cell."""
    for number in numbers:
        yield middles(drawn(number, effort.digits)[1])


def middles(where: Layout) -> np.ndarray:
    """uint8 [row, column, digit]: 1 where a digit of that class has its middle in the cell."""
    side = len(where.mask) // STEP_PX
    columns, rows = np.clip((where.corner + STEP_PX // 2) // STEP_PX, 0, side - 1).T
    codes = np.zeros((side, side, CLASSES), np.uint8)
    codes[rows, columns, where.digits] = 1
    return codes


def by_pca(run: Run, numbers: Sequence[int], effort: Effort) -> Iterator[np.ndarray]:
    """float16 [row, column, number] of each image."""
    folder, paths = painted(effort.out, effort.digits)
    net = load_encoder(folder / ENCODER)
    for number in numbers:
        yield coded(net, paths[number], run)


def coded(net: Encoder, path: Path, run: Run) -> np.ndarray:
    """float16 [row, column, number]: the codes of the whole cells of an image, as `geryon compress` keeps them; of a
    shorter code the first components."""
    with open_slide(path) as slide:
        image = slide.read(slide.frame.box, slide.mpp[0])
    return net.dense(image, run.stride_px)[..., : run.numbers].astype(np.float16)


def legible(run: Run, effort: Effort) -> None:
    """Say how often a probe on a cell's code alone reads the digit that has its middle there."""
    learnt_from, asked = LEGIBLE
    numbers = replace(effort, test=asked).numbers(learnt_from)
    volumes = by_pca(run, numbers, effort)
    cells = [digits_of(codes, number, effort) for number, codes in zip(numbers, volumes, strict=True)]
    image = np.repeat(np.arange(len(numbers)), [len(digits) for _, digits in cells])
    codes, digits = (np.concatenate(each) for each in zip(*cells, strict=True))
    side = (image >= learnt_from).astype(int)
    said = answers(codes, digits, side, classes=CLASSES, settings=ProbeSettings(folds=2)).mean(axis=0)
    right = (said.argmax(1) == digits)[side == 1]
    found = of_images(right, image[side == 1] - learnt_from)
    size = {"code": run.code, "numbers": run.numbers, "size_px": effort.digits.size_px, "images": learnt_from}
    say("digits", "digits of the test images read from the code of their cell", **found, better="higher", size=size)


def digits_of(codes: np.ndarray, number: int, effort: Effort) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [n, number], int64 [n]): codes and digits of the cells that hold the middle of one class alone."""
    there = middles(drawn(number, effort.digits)[1])
    rows, columns = np.nonzero(there.sum(axis=2) == 1)
    return codes[rows, columns].astype(np.float32), there[rows, columns].argmax(axis=1)


def of_images(right: np.ndarray, image: np.ndarray) -> dict[str, Any]:
    """Share of right answers, with 95 % when images are drawn again, for `say`."""
    count, hits = np.bincount(image), np.bincount(image, right)
    draws = drawings(len(count), 1000, 0)
    low, high = span(draws @ hits / (draws @ count))
    return {"value": float(right.mean()), "low": low, "high": high, "unit": "share"}


@cache
def painted(out: Path, settings: Digits) -> tuple[Path, Mapping[int, Path]]:
    """The set's folder, and the path of each image by its number."""
    folder = out / f"images-{settings.size_px}px"
    table = synth_digits(folder, settings)
    with table.open(encoding="utf-8", newline="") as file:
        return folder, {number: folder / row["path"] for number, row in enumerate(csv.DictReader(file))}


def in_memory(codes: np.ndarray) -> Held:
    """A volume of codes [row, column, number], all of it tissue."""
    rows, columns, _ = codes.shape
    return Held(path=Path("digits"), tissue=np.ones((rows, columns), bool), codes=codes[None], pieces=(rows * columns,))


def even(cells: int) -> int:
    """Sides of crops are even: the CNN's first layer takes two by two cells."""
    return cells + cells % 2


def run_lines(run: Run, said: np.ndarray, effort: Effort) -> np.ndarray:
    """Say how right a run is, in all and by the size of the tilted rectangle; bool [test image], right or not."""
    draws = [shown(number, effort.digits) for number in effort.numbers(0)]
    right = np.array([d.label for d in draws]) == said
    other = np.array([d.distractor for d in draws]) == said
    size = asdict(run) | {
        "size_px": effort.digits.size_px,
        "seen": effort.seen,
        "rate": effort.rate,
        "seed": effort.seed,
    }
    of_bin = by_side(draws, right, effort.digits.size_px)
    share("answered rightly", int(right.sum()), len(right), size, rises_with_side=rises(of_bin))
    named = int(right.sum() + other.sum())  # counts alone name the one as often as the other
    share("of the answers that name a rectangle's digit, the tilted one's", int(right.sum()), named, size)
    for name, (n, asked) in of_bin.items():
        share(f"answered rightly, tilted rectangle of {name} of the image's side", n, asked, size)
    return right


def size_of(run: Run, effort: Effort) -> dict[str, Any]:
    shared = {"size_px": effort.digits.size_px, "test": effort.test, "rate": effort.rate, "seed": effort.seed}
    return asdict(run) | {"seen": effort.seen} | shared


def by_side(draws: Sequence[Draw], right: np.ndarray, size_px: int) -> dict[str, tuple[int, int]]:
    """{bin of sides: (right, asked)}"""
    at = np.digitize([d.tilted_px / size_px for d in draws], BINS[1:-1])
    names = [f"{100 * low:.0f}-{100 * high:.0f} %" for low, high in zip(BINS[:-1], BINS[1:], strict=True)]
    return {name: (int(right[at == k].sum()), int((at == k).sum())) for k, name in enumerate(names)}


def rises(of_bin: Mapping[str, tuple[int, int]]) -> bool:
    """Whether no bin lies below a smaller one by more than their intervals allow."""
    points = [wilson(right, asked) for right, asked in of_bin.values() if asked]
    return all(later.high >= point.low for i, point in enumerate(points) for later in points[i + 1 :])


def share(question: str, right: int, asked: int, size: Mapping[str, Any], **more: Any) -> None:
    if not asked:
        return
    found = wilson(right, asked)
    told = {"value": found.accuracy, "low": found.low, "high": found.high, "unit": "share", "asked_images": asked}
    say("digits", question, **told, better="higher", size=size, **more)


def pairs(runs: Sequence[Run]) -> Iterator[tuple[str, Run, Run]]:
    """(what is asked, the run that should be better, the other one)."""
    by_train = [run for run in runs if (run.code, run.model) == (ORACLE, "cnn")]
    for few, many in zip(by_train, by_train[1:], strict=False):
        yield "more images", many, few
    for run in runs[:1] if by_train else ():
        yield "the CNN, over the bag of digits", by_train[-1], run
    of_pca = [run for run in runs if run.code == PCA]
    whole = [run for run in of_pca if run.stride_px == STEP_PX]
    for long, short in zip(whole, whole[1:], strict=False):
        yield "a longer code", long, short
    for long in (run for run in whole if run.numbers == CODE):
        yield from (("a stride of the patch, over a smaller one", long, run) for run in of_pca if run not in whole)
        yield from (("an oracle, over the PCA", run, long) for run in by_train if run.train == long.train)


def difference(name: str, better: np.ndarray, worse: np.ndarray, size: Mapping[str, Any]) -> None:
    """Say by how much more of the same images one run answers rightly."""
    found = gain(better, worse)
    say(
        "digits", f"gain of accuracy by {name}", **found, unit="share", better="higher", size=size, holds=verdict(found)
    )


def gain(better: np.ndarray, worse: np.ndarray) -> dict[str, float]:
    """Mean difference of right answers, with 95 % when images are drawn again."""
    by_image = better.astype(float) - worse
    low, high = span(drawings(len(by_image), 1000, 0) @ by_image / len(by_image))
    return {"value": float(by_image.mean()), "low": low, "high": high}


def verdict(found: Mapping[str, float]) -> bool | None:
    """Whether a gain is one; None where it may be nothing."""
    return True if found["low"] > 0 else False if found["high"] < 0 else None


if __name__ == "__main__":
    raise SystemExit(main())
