"""A small world to learn: dark squares on light glass, red or blue; of two sources one knows no colours."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from geryon.train.augment_settings import AugmentSettings
from geryon.train.settings import LoopSettings

LOSSES = {"squares/inside": "bce_dice", "squares/class": "class_cross_entropy"}
SETTINGS = LoopSettings(
    steps=30,
    batch=4,
    crop_px=32,
    lr=0.02,
    warmup=0.1,
    ema=0.9,
    threads=1,
    log_steps=5,
    keep_minutes=60,
    device="cpu",
    precision="float32",
    augment=AugmentSettings(strength=0.3),
)


@dataclass(frozen=True)
class Square:
    source: str
    image: np.ndarray
    name: str = "square"
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def square(seed: int) -> Square:
    """A dark square on light glass; source "b" knows no classes."""
    rng = np.random.default_rng(seed)
    inside = np.zeros((64, 64), np.uint8)
    y, x = rng.integers(4, 36, 2)
    inside[y : y + 24, x : x + 24] = 255
    red = seed % 4 < 2
    image = np.full((64, 64, 3), 225, np.uint8)
    image[inside > 0] = (180, 60, 60) if red else (60, 60, 180)
    coarse = inside[::2, ::2]
    classes = np.stack([coarse * red, coarse * (not red)], axis=2)
    full = np.full((64, 64), 20, np.uint8)
    if seed % 2:
        return Square("b", image, targets={"squares/inside": inside[..., None]}, weights={"squares/inside": full})
    return Square(
        "a",
        image,
        targets={"squares/inside": inside[..., None], "squares/class": classes},
        weights={"squares/inside": full, "squares/class": (coarse > 0).astype(np.uint8) * 20},
    )


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)
        )
        self.inside, self.kind = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 2, 2, stride=2)

    def forward(self, x):
        x = self.stem(x.float() / 128 - 1)
        return {"squares/inside": self.inside(x), "squares/class": self.kind(x)}


def tiny():
    torch.manual_seed(7)
    return Tiny()
