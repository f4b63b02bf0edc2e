"""Write a set of images strewn with digits, as slides with one label each."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from geryon import __version__, events
from geryon.atomic import whole_file
from geryon.errors import UsageError
from geryon.flows import synth_about
from geryon.flows.synth import NO_UUID
from geryon.nets.encoders.document import EncoderDocument, save_encoder
from geryon.nets.weights import SourceDocument
from geryon.slides.synthetic.digits import STEP_PX, Draw, Layout, bank, draw, layout, painted
from geryon.slides.synthetic.glyphs import Glyphs, drawn_glyphs, read_glyphs

TABLE, ABOUT, IMAGES, MASKS, ENCODER = "table.csv", "digits.json", "images", "masks", "encoder.safetensors"
MPP = 1.0
"""Stated in the files, so that a patch of 9 px is one of 9 µm."""
CODE, LEARNT_FROM = 16, 20
"""Length of the encoder's codes (the paper's), and images whose patches it is learnt from."""
COLUMNS = (
    *("slide", "patient", "path", "mask", "split", "digit", "distractor", "tilted_px", "upright_px"),
    *("digits_in_lesion", "digits_in_distractor"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Settings of a set."""

    count: int
    size_px: int = 900
    seed: int = 0
    legacy: bool = False
    """The original's law, digits and names, with their leaks."""
    digits_from: Path | None = None
    """Images of MNIST (idx); None: digits drawn here."""


def synth_digits(out: Path | str, settings: Digits, *, tell: events.Tell = events.nobody) -> Path:
    """Write OUT/images, OUT/masks (127 in the tilted rectangle, 255 in the upright one), OUT/table.csv and an encoder.

    OUT/encoder.safetensors is a PCA of patches of one digit's side, for `geryon compress --encoder`. Images of even
    number are of the split `train`, the others of `test`, which has digits of its own. `digit` is the label,
    `digits_in_lesion` how many digits tell it. OUT/digits.json holds the settings: with the same ones images that lie
    there already are not made again (there may be more of them now), with others UsageError is raised. Returns the
    table's path.
    """
    if settings.count < 1:
        raise UsageError(what=f"a set of {settings.count} images", mend="give --digits a number above 0")
    out, started = Path(out), time.monotonic()
    glyphs = _glyphs(settings)
    _keep_about(out, settings, glyphs)
    banks = [bank(each, legacy=settings.legacy) for each in glyphs]
    tell(events.Started(stage="strew", total=settings.count, unit="images"))
    rows = []
    _write_encoder(out / ENCODER, [_painted(2 * k, banks, settings) for k in range(LEARNT_FROM)], settings)
    for number in range(settings.count):
        what, where = drawn(number, settings)
        names = _names(number, what, legacy=settings.legacy)
        if not (out / names[0]).exists() or not (out / names[1]).exists():
            _write(out / names[0], _painted(number, banks, settings))
            _write(out / names[1], where.mask)
        rows.append(_row(names, ("train", "test")[number % 2], what, where))
        tell(events.Advanced(stage="strew"))
    with whole_file(out / TABLE) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    tell(events.Finished(stage="strew", seconds=time.monotonic() - started))
    return out / TABLE


def _keep_about(out: Path, settings: Digits, glyphs: Sequence[Glyphs]) -> None:
    """Say before the first image what they are made from; refuse a folder whose images are of other settings."""
    total = hashlib.sha256()
    for each in glyphs:
        total.update(np.ascontiguousarray(each.images).data)
        total.update(np.ascontiguousarray(each.labels).data)
    asked = {"seed": settings.seed, "size_px": settings.size_px, "legacy": settings.legacy, "glyphs": total.hexdigest()}
    about, path = synth_about.about({"digits": asked}), out / ABOUT
    if synth_about.is_about(path, about):
        return
    if path.exists() or (out / IMAGES).exists():
        raise UsageError(
            what="images of other settings (seed, size, digits-from, legacy) lie there",
            where=str(path if path.exists() else out / IMAGES),
            mend="give the settings that they were made with, or another folder",
        )
    out.mkdir(parents=True, exist_ok=True)
    synth_about.keep(path, about)


def drawn(number: int, settings: Digits) -> tuple[Draw, Layout]:
    """What image `number` of a set shows, and where; nothing is painted."""
    of_split, test = divmod(number, 2)
    seed = 2 * settings.seed + test
    what = draw(of_split, seed=seed, size_px=settings.size_px, legacy=settings.legacy)
    return what, layout(what, seed=seed, size_px=settings.size_px, legacy=settings.legacy)


def _painted(number: int, banks: Sequence[Glyphs], settings: Digits) -> np.ndarray:
    _, where = drawn(number, settings)
    rng = np.random.default_rng([settings.seed, 67, number])
    return painted(where, banks[number % 2], rng, legacy=settings.legacy)


def _write_encoder(path: Path, images: Sequence[np.ndarray], settings: Digits) -> None:
    """A whitened PCA of the grid's patches; as in the paper, those with a white pixel are as many as the others."""
    patches = np.concatenate([_patches(image) for image in images]) / 127.5 - 1.0
    white = np.flatnonzero(patches.max(axis=1) > 0)
    black = np.random.default_rng([settings.seed, 68]).permutation(np.flatnonzero(patches.max(axis=1) <= 0))
    some = patches[np.concatenate([white, black[: len(white)]])]
    middle = some.mean(axis=0)
    _, sizes, axes = np.linalg.svd(some - middle, full_matrices=False)
    inward = axes[:CODE] / (sizes[:CODE, None] / np.sqrt(len(some)))
    colours = np.repeat(inward / 3, 3, axis=1)  # the three channels are alike
    tensors = {"layers.1.weight": colours.astype(np.float32), "layers.1.bias": (-inward @ middle).astype(np.float32)}
    licence, use = ("Apache-2.0", "open") if settings.digits_from is None else ("that of the digits given", "research")
    document = EncoderDocument(
        name="digits-pca",
        version=__version__,
        topology="layered",
        settings={"patch_px": STEP_PX, "layers": [{"kind": "flatten"}, {"kind": "dense", "out": CODE}]},
        mpp=MPP,
        patch_px=STEP_PX,
        code=CODE,
        sources=(SourceDocument(name="synthetic digits", licence=licence, use=use),),
        use=use,
    )
    save_encoder(path, tensors, document)


def _patches(image: np.ndarray) -> np.ndarray:
    """float [patch, STEP_PX * STEP_PX]: the whole patches of the grid."""
    side = len(image) // STEP_PX
    inner = image[: side * STEP_PX, : side * STEP_PX].reshape(side, STEP_PX, side, STEP_PX)
    return np.asarray(inner.swapaxes(1, 2).reshape(side * side, -1), np.float64)


def _glyphs(settings: Digits) -> tuple[Glyphs, Glyphs]:
    """Digits to learn from, and others to test on."""
    if settings.digits_from is None:
        return drawn_glyphs(2 * settings.seed), drawn_glyphs(2 * settings.seed + 1)
    first = read_glyphs(settings.digits_from)
    other = settings.digits_from.with_name(settings.digits_from.name.replace("train-", "t10k-"))
    if other != settings.digits_from and other.exists():
        return first, read_glyphs(other)
    cut = len(first.labels) * 5 // 6
    return Glyphs(first.images[:cut], first.labels[:cut]), Glyphs(first.images[cut:], first.labels[cut:])


def _names(number: int, what: Draw, *, legacy: bool) -> tuple[str, str]:
    """Paths of the image and of its mask in the set's folder."""
    if legacy:
        known = f"{number}_{what.label}_{what.distractor}_{what.tilted_px}_{what.upright_px}"
        return f"{IMAGES}/{known}_tile.tif", f"{MASKS}/{known}_ref.png"
    return f"{IMAGES}/d{number:05d}.tif", f"{MASKS}/d{number:05d}.png"


def _row(names: tuple[str, str], split: str, what: Draw, where: Layout) -> dict[str, Any]:
    name = Path(names[0]).stem
    told = {"slide": name, "patient": name, "path": names[0], "mask": names[1], "split": split}
    label = {"digit": what.label, "distractor": what.distractor, "tilted_px": what.tilted_px}
    counts = {"digits_in_lesion": where.in_tilted, "digits_in_distractor": where.in_upright}
    return {**told, **label, "upright_px": what.upright_px, **counts}


def _write(path: Path, image: np.ndarray) -> None:
    with whole_file(path, lasting=False) as fresh:
        if path.suffix == ".png":
            fresh.write_bytes(cv2.imencode(".png", image)[1].tobytes())
            return
        size = {"PhysicalSizeX": MPP, "PhysicalSizeY": MPP, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
        tifffile.imwrite(
            fresh,
            np.repeat(image[..., None], 3, axis=2),
            ome=True,
            tile=(256, 256),
            compression="zlib",
            photometric="rgb",
            metadata={"axes": "YXS", "UUID": NO_UUID, "Creator": "geryon", **size},
        )
