"""The kinds of nuclei: how large, how dark, of which class, in which tissue."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from geryon.slides.synthetic.layout import (
    ADIPOSE,
    BACKGROUND,
    DEBRIS,
    LYMPHOCYTES,
    MUCUS,
    MUSCLE,
    NORMAL,
    STROMA,
    TUMOUR,
)  # fmt: skip
from geryon.slides.synthetic.polygons import ovals


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of nucleus and its cell; lengths in µm."""

    name: str
    """The class in the truth."""
    a: tuple[float, float]
    """Mean and spread of the half length, µm; 0 where the gland says it."""
    thin: tuple[float, float]
    """Least and greatest ratio of half width to half length."""
    haematoxylin: tuple[float, float]
    """Least and greatest optical density of its chromatin."""
    clump: float
    """How coarse the chromatin is, 0..1."""
    vesicle: float
    """How much paler the middle is than the rim, 0..1."""
    wobble: tuple[float, float] = (0.05, 0.04)
    bend: float = 0.0
    cytoplasm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Size over the nucleus' (0: none to see), eosin, haematoxylin."""


KINDS = (
    Kind(name="epithelial", a=(0, 0), thin=(0, 0), haematoxylin=(0.50, 0.86), clump=0.40, vesicle=0.22),
    Kind(name="epithelial", a=(0, 0), thin=(0, 0), haematoxylin=(0.58, 1.05), clump=0.65, vesicle=0.42),
    Kind(name="lymphocyte", a=(3.1, 0.35), thin=(0.80, 1.0), haematoxylin=(0.72, 1.18), clump=0.35, vesicle=0.05,
         cytoplasm=(1.25, 0.16, 0.18)),
    Kind(name="plasma", a=(3.3, 0.3), thin=(0.78, 0.98), haematoxylin=(0.74, 1.08), clump=0.7, vesicle=0.12,
         cytoplasm=(1.75, 0.30, 0.26)),
    Kind(name="eosinophil", a=(3.2, 0.25), thin=(0.62, 0.8), haematoxylin=(0.78, 1.09), clump=0.25, vesicle=0.0,
         wobble=(0.16, 0.05), bend=0.5, cytoplasm=(2.15, 0.38, 0.0)),
    Kind(name="neutrophil", a=(2.9, 0.25), thin=(0.8, 1.0), haematoxylin=(0.94, 1.25), clump=0.15, vesicle=0.0,
         wobble=(0.14, 0.24), cytoplasm=(1.5, 0.30, 0.03)),
    Kind(name="connective", a=(7.0, 1.7), thin=(0.20, 0.36), haematoxylin=(0.58, 0.98), clump=0.35, vesicle=0.12,
         wobble=(0.03, 0.05), bend=0.5),
    Kind(name="connective", a=(8.3, 1.5), thin=(0.17, 0.27), haematoxylin=(0.51, 0.78), clump=0.25, vesicle=0.12,
         wobble=(0.02, 0.02), bend=0.35),
    Kind(name="other", a=(2.2, 0.5), thin=(0.7, 1.0), haematoxylin=(0.95, 1.35), clump=0.1, vesicle=0.0,
         wobble=(0.10, 0.10), cytoplasm=(1.6, 0.55, 0.05)),
)  # fmt: skip
BENIGN, MALIGNANT, LYMPHOCYTE, PLASMA, EOSINOPHIL, NEUTROPHIL, SPINDLE, MYOCYTE, DEAD = range(9)
SHARES: dict[int, tuple[tuple[int, float], ...]] = {
    ADIPOSE: (),
    BACKGROUND: (),
    DEBRIS: ((DEAD, 0.028), (NEUTROPHIL, 0.012), (LYMPHOCYTE, 0.006)),
    LYMPHOCYTES: ((LYMPHOCYTE, 0.93), (PLASMA, 0.015), (SPINDLE, 0.0112)),
    MUCUS: ((DEAD, 0.003), (LYMPHOCYTE, 0.0045), (NEUTROPHIL, 0.003)),
    MUSCLE: ((MYOCYTE, 0.0562), (LYMPHOCYTE, 0.0023)),
    NORMAL: ((LYMPHOCYTE, 0.14), (PLASMA, 0.10), (EOSINOPHIL, 0.0188), (NEUTROPHIL, 0.006), (SPINDLE, 0.0675)),
    STROMA: ((SPINDLE, 0.075), (LYMPHOCYTE, 0.0165), (PLASMA, 0.0075), (EOSINOPHIL, 0.0023)),
    TUMOUR: (
        (SPINDLE, 0.0975), (LYMPHOCYTE, 0.05), (PLASMA, 0.015), (NEUTROPHIL, 0.01), (EOSINOPHIL, 0.006), (DEAD, 0.005),
    ),
}  # fmt: skip
"""How many of the places on the lattice try to hold which kind, by tissue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """n nuclei; positions µm."""

    xy: np.ndarray
    kind: np.ndarray
    """int64 [n]: number in KINDS"""
    outline: np.ndarray
    """float64 [n, corner, 2]"""
    density: np.ndarray
    """float64 [n]: optical density of the chromatin"""
    around: np.ndarray
    """float64 [n, corner, 2]: outline of the cell body; empty (a point) where none is to be seen"""

    def __len__(self) -> int:
        return len(self.xy)

    def take(self, index: np.ndarray) -> Cells:
        """Those at `index` (int64 or bool)."""
        kind, outline, density = self.kind[index], self.outline[index], self.density[index]
        return Cells(xy=self.xy[index], kind=kind, outline=outline, density=density, around=self.around[index])


def made(xy: np.ndarray, axes: np.ndarray, angle: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> Cells:
    """Nuclei of those places, half axes and kinds, each with an outline of its own."""
    n = len(xy)
    wobble = np.array([k.wobble for k in KINDS])[kind] * rng.uniform(0.4, 1.0, (n, 2))
    bend = np.array([k.bend for k in KINDS])[kind] * rng.uniform(-1, 1, n)
    outline = ovals(xy, axes, angle, wobble, rng.uniform(0, 2 * np.pi, (n, 2)), bend=bend)
    low, high = np.array([k.haematoxylin for k in KINDS])[kind].T
    size = np.array([k.cytoplasm[0] for k in KINDS])[kind]
    turn = rng.uniform(0, 2 * np.pi, n)
    off = np.where(kind == PLASMA, 0.55, 0.25)[:, None] * axes[:, 1:] * (size > 0)[:, None]
    centre = xy + off * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    body = ovals(
        centre, axes[:, 1:] * size[:, None] * [[1.12, 1.0]], turn, wobble * 0.5, turn[:, None] * [[1, 2]], bend=bend * 0
    )
    return Cells(xy=xy, kind=kind, outline=outline, density=rng.uniform(low, high), around=body)


def joined(first: Cells, more: Cells) -> Cells:
    """Both, in order."""
    return Cells(**{f.name: np.concatenate([getattr(first, f.name), getattr(more, f.name)]) for f in fields(Cells)})
