"""Patches whose class is their colour: any network learns them in a few steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from geryon.train.encoders.patches import Image, Patches, get_patch_task
from geryon.train.encoders.recipe import EncoderRecipe, parse_encoder_recipe
from tests.conftest import ROOT

SIDE_PX = 96
TINY: dict[str, Any] = {
    "name": "tiny",
    "licence": "research",
    "encoder": {"body": "nic-64", "code": 8},
    "tasks": ["glas", "kather"],
    "patch_px": 64,
    "split": {"validation": 0.25},
    "train": {
        "steps": 6,
        "batch": 16,
        "threads": 0,
        "device": "cpu",
        "precision": "float32",
        "log_steps": 2,
        "augment": {"preset": "basic"},
    },
}


def recipe(**changes: Any) -> EncoderRecipe:
    """The tiny recipe; `train` and `encoder` are changed key by key."""
    raw = {key: dict(value) if isinstance(value, dict) else value for key, value in TINY.items()}
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if isinstance(raw.get(key), dict) else value
    return parse_encoder_recipe(raw, folder=ROOT, where="tiny")


def patches(task: str, *, groups: int = 8, places: int = 4, kinds: int = 2, informative: bool = True) -> Patches:
    """`groups` images of one group each, all of one class whose colour they have, with so many places each."""
    rng = np.random.default_rng(len(task))
    images = []
    for k in range(groups):
        colour = 60 + 120 * (k % kinds) // max(kinds - 1, 1) if informative else 128
        pixels = np.clip(rng.normal(colour, 30, (SIDE_PX, SIDE_PX, 3)), 0, 255).astype(np.uint8)
        value = get_patch_task(task)
        image = Image(
            task=task,
            source=value.source,
            group=f"g{k}",
            name=f"i{k}",
            stratum=value.classes[k % kinds],
            pixels=pixels,
            mpp=0.5,
        )
        images.append(image)
    rows = np.repeat(np.arange(groups), places)
    return Patches(
        task=replace(get_patch_task(task), jitter_um=2.0),
        images=tuple(images),
        image=rows,
        xy_um=rng.uniform(16, SIDE_PX / 2 - 16, (len(rows), 2)),
        labels=rows % kinds,
    )


def gathered() -> dict[str, Patches]:
    """Of both tasks of the tiny recipe, of unequal sizes."""
    return {"glas": patches("glas"), "kather": patches("kather", groups=6, places=2, kinds=3)}
