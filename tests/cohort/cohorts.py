"""Small synthetic cohorts: volumes whose codes hold a known signal, and the table of their labels."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geryon.space.turns import TURNS
from geryon.store.features import NAME, About, Piece, write_volume

CODE = 4
ABOUT = About(
    slide="a",
    width_level0=1024,
    height_level0=1024,
    mpp_level0=(0.5, 0.5),
    mpp=0.5,
    patch_um=64.0,
    stride_um=64.0,
    encoder="mean-rgb",
    encoder_sha256="0" * 64,
    version="1",
)


def volume(folder: Path, name: str, signal: float, *, side: int = 8, tissue: np.ndarray | None = None, **about: object):
    """Write FOLDER/NAME/features.zarr: the first number of the codes is the signal, all with noise."""
    rng = np.random.default_rng(abs(hash_of(name)))
    there = np.ones((side, side), bool) if tissue is None else tissue
    told = replace(ABOUT, slide=name, width_level0=128 * side, height_level0=128 * side, **about)
    turns = TURNS if told.turns == "eight" else 1
    codes = rng.normal(0, 0.5, (turns, side, side, int(about.get("code", CODE)) if "code" in about else CODE))
    codes[..., 0] += signal
    codes *= there[..., None]
    piece = Piece(features=codes[0], tissue=there, turned=codes[1:] if turns > 1 else None)
    return write_volume(folder / name / NAME, told, [piece], code=codes.shape[-1])


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode()[-7:], "big")


def write(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """A CSV of these rows."""
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def cohort(folder: Path, labels: Sequence[Mapping[str, object]], signals: Sequence[float], **about: object) -> Path:
    """A table with a row a slide; its volumes lie in folder/out, found by the column `features`."""
    rows = []
    for k, (label, signal) in enumerate(zip(labels, signals, strict=True)):
        name = f"s{k:03d}"
        volume(folder / "out", name, signal, **about)
        rows.append({"slide": name, "patient": f"p{k:03d}", "features": f"out/{name}", **label})
    return write(folder / "slides.csv", rows)
