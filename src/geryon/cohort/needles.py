"""How small a needle can be in a haystack of codes: images with one object to find, a label each, nothing else told.

After Pawlowski et al. (arXiv 1908.06037): a needle (the digit 3) amid clutter (other digits); a positive image has one
needle in place of one piece of clutter, so counts give nothing away; half of the images are positive. Here in
compressed space: an image is a grid of cells, of which CLUTTER hold a digit and the others are background; the code of
a cell is the whitened PCA of its digit. Digits to learn from, digits to test on and those that the PCA is learnt on are
of three banks. The object-to-image ratio is one cell over all cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon import plugins
from geryon.cohort.network import CompressedCNN, GatedAttention, Last
from geryon.slides.synthetic.glyphs import drawn_glyphs

NEEDLE = 3
CLUTTER = 0.3
"""Of the cells: about what the original's canvases have."""
DIGIT_PX, CODE = 14, 16
BANKS = {"train": 200, "test": 201, "encoder": 202}
"""Seeds of the banks of digits."""
WIDTH, HIDDEN = 64, 32
SHARPNESS = 5.0
"""Of log-sum-exp: towards the mean below 1, towards the maximum far above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run of the series."""

    ratio: float
    """Object to image, such as 0.01; the grid is the square nearest to it."""
    train: int
    """Images to learn from."""
    pooling: str
    """In POOLINGS."""
    seed: int = 0
    steps: int = 800
    batch: int = 16
    rate: float = 3e-3
    test: int = 600

    @property
    def side(self) -> int:
        """Cells along a side of the grid."""
        return max(2, round(1 / math.sqrt(self.ratio)))

    @property
    def pieces(self) -> int:
        """Cells with a digit, the needle among them."""
        return max(2, round(CLUTTER * self.side**2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Haystacks:
    """n images."""

    digits: np.ndarray
    """int32 [n, pieces]: numbers of digits in the bank."""
    cells: np.ndarray
    """int32 [n, pieces]: where in the grid, row by row."""
    has_needle: np.ndarray
    """bool [n]"""


class Pooled(nn.Module):
    """Cells embedded alike, pooled over the bag, one linear layer: attention's bag without its attention."""

    def __init__(self, last: Last, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(CODE, WIDTH), nn.ReLU())
        self.pool, self.last = pool, last

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Logits [n, 1] of bags [n, CODE, 1, cells] whose cells all count."""
        out: Tensor = self.last(self.pool(self.embed(x.flatten(2).transpose(1, 2))))
        return out


def log_sum_exp(features: Tensor) -> Tensor:
    """[n, features] of [n, cells, features] (Pinheiro and Collobert, CVPR 2015, equation 6)."""
    return (torch.logsumexp(SHARPNESS * features, 1) - math.log(features.shape[1])) / SHARPNESS


def mean_of(last: Last) -> nn.Module:
    return Pooled(last, lambda features: features.mean(1))


def maximum(last: Last) -> nn.Module:
    return Pooled(last, lambda features: features.max(1).values)


def lse(last: Last) -> nn.Module:
    return Pooled(last, log_sum_exp)


def attention(last: Last) -> nn.Module:
    return GatedAttention(CODE, last, width=WIDTH, hidden=HIDDEN, dropout=0.0)


def cnn(last: Last) -> nn.Module:
    return CompressedCNN(CODE, last, width=WIDTH)


GROUP = "geryon.needle_poolings"
POOLINGS = {
    "mean": "geryon.cohort.needles:mean_of",
    "max": "geryon.cohort.needles:maximum",
    "lse": "geryon.cohort.needles:lse",
    "attention": "geryon.cohort.needles:attention",
    "cnn": "geryon.cohort.needles:cnn",
}
"""Output layer of WIDTH features -> network. All see the bag of cells with a digit; the CNN sees them on their grid."""
ON_GRID = ("cnn",)


def accuracy(asked: Asked) -> float:
    """Share of the test images that a network answers rightly after its steps. Seeded; no choice looks at the test."""
    torch.manual_seed(asked.seed)
    net = plugins.look_up(POOLINGS, GROUP, asked.pooling)(Last(WIDTH, 1))
    rng = np.random.default_rng([asked.seed, 71, asked.side, asked.train])
    known = haystacks(asked, asked.train, "train", rng)
    optimiser = torch.optim.AdamW(net.parameters(), lr=asked.rate, weight_decay=1e-4)
    course = torch.optim.lr_scheduler.OneCycleLR(optimiser, asked.rate, total_steps=asked.steps)
    for _ in range(asked.steps):
        some = rng.permutation(asked.train)[: asked.batch]
        truth = torch.from_numpy(known.has_needle[some].astype(np.float32))
        loss = functional.binary_cross_entropy_with_logits(net(*_seen(asked, known, some, "train"))[:, 0], truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.step()
    return _share_right(net.eval(), asked, haystacks(asked, asked.test, "test", rng))


@torch.no_grad()
def _share_right(net: nn.Module, asked: Asked, unknown: Haystacks) -> float:
    right = 0
    for start in range(0, asked.test, asked.batch):
        some = np.arange(start, min(start + asked.batch, asked.test))
        found = net(*_seen(asked, unknown, some, "test"))[:, 0].numpy() > 0
        right += int((found == unknown.has_needle[some]).sum())
    return right / asked.test


def haystacks(asked: Asked, n: int, bank: str, rng: np.random.Generator) -> Haystacks:
    """n images, every other one with a needle."""
    labels = drawn_glyphs(BANKS[bank]).labels
    needles, others = np.flatnonzero(labels == NEEDLE), np.flatnonzero(labels != NEEDLE)
    digits = others[rng.integers(len(others), size=(n, asked.pieces))].astype(np.int32)
    has_needle = np.arange(n) % 2 == 1
    digits[has_needle, 0] = needles[rng.integers(len(needles), size=int(has_needle.sum()))]
    cells = np.stack([rng.choice(asked.side**2, asked.pieces, replace=False) for _ in range(n)]).astype(np.int32)
    return Haystacks(digits=digits, cells=cells, has_needle=has_needle)


def _seen(asked: Asked, images: Haystacks, some: np.ndarray, bank: str) -> tuple[Tensor, Tensor]:
    """What a network sees of some images: codes and where there are any."""
    codes = bank_codes(bank)[images.digits[some]]
    if asked.pooling not in ON_GRID:
        return torch.from_numpy(codes).transpose(1, 2)[:, :, None], torch.ones(
            len(some), 1, asked.pieces, dtype=torch.bool
        )
    grid = np.zeros((len(some), asked.side**2, CODE), np.float32)
    mask = np.zeros(grid.shape[:2], bool)
    at = np.arange(len(some))[:, None], images.cells[some]
    grid[at], mask[at] = codes, True
    shape = (len(some), asked.side, asked.side)
    return torch.from_numpy(grid.reshape(*shape, CODE)).permute(0, 3, 1, 2), torch.from_numpy(mask.reshape(shape))


@lru_cache(maxsize=3)
def bank_codes(bank: str) -> np.ndarray:
    """float32 [digit, CODE] of a bank: its PCA, each component of unit variance in the encoder's bank."""
    learnt = _flat("encoder")
    middle = learnt.mean(0)
    _, sizes, axes = np.linalg.svd(learnt - middle, full_matrices=False)
    scale = sizes[:CODE] / math.sqrt(len(learnt))
    return ((_flat(bank) - middle) @ axes[:CODE].T / scale).astype(np.float32)


def _flat(bank: str) -> np.ndarray:
    images = drawn_glyphs(BANKS[bank]).shrunk(DIGIT_PX).images
    return images.reshape(len(images), -1) / 255.0
