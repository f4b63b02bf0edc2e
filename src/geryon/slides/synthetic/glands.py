"""Glands: test tubes cut across and along, benign or malignant, with lumina, goblet cells and their nuclei.

Each gland grows from a spine, a segment on a jittered lattice; its rays stop before they come nearer to
another spine than to their own, so glands never meet, and each depends on its neighbours' spines only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from geryon.slides.synthetic import cells, noise
from geryon.slides.synthetic.cells import Cells
from geryon.slides.synthetic.layout import NORMAL, TUMOUR, World, is_glass, tissue_at
from geryon.slides.synthetic.polygons import edge_distance, ovals, reach, spaced

PITCH_UM = 98.0
SIDE = 3
GROUP_UM = PITCH_UM * SIDE
"""Sites come in groups of SIDE x SIDE; a long crypt takes a row or a column of its group."""
REACH_UM = 100.0
"""No gland leaves its group's square by more."""
MARGIN_UM = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gland:
    """One gland; outlines in µm, float64 [n, 2]."""

    number: int
    """Its place in the group."""
    malignant: bool
    outline: np.ndarray
    lumina: tuple[np.ndarray, ...]
    goblets: np.ndarray
    """float64 [n, corner, 2]"""
    nuclei: Cells
    cleft_um: float
    """Width of the gap that shrinkage left around it."""
    tone: float
    """-1..1: how dark its cytoplasm is."""
    secretion: float
    """0..1: how much the lumina hold."""
    cribriform: bool
    """Malignant with many holes in place of one lumen."""


@dataclass(frozen=True, slots=True)
class _Outline:
    origin: np.ndarray
    normal: np.ndarray
    radius: np.ndarray

    @property
    def points(self) -> np.ndarray:
        return self.origin + self.normal * self.radius[:, None]


@lru_cache(maxsize=4096)
def spines(world: World, row: int, column: int) -> np.ndarray:
    """float64 [n, 4]: x0, y0, x1, y1 of the spines of a group."""
    rng = np.random.default_rng([world.seed, 31, row + 8, column + 8])
    cell = (
        np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=2)
        + 0.5
        + rng.uniform(-0.24, 0.24, (SIDE, SIDE, 2))
    )
    site = (cell + np.array([column * SIDE, row * SIDE])) * PITCH_UM
    site[..., 0] += 22 * noise.at_points(world.seed, 32, site[..., 0], site[..., 1], 230)
    site[..., 1] += 22 * noise.at_points(world.seed, 33, site[..., 0], site[..., 1], 230)
    mode = rng.random()
    if mode < 0.5:
        short = rng.uniform(-9, 9, (SIDE, SIDE, 2))
        return np.concatenate([site - short, site + short], axis=2).reshape(-1, 4)
    lines = site if mode < 0.75 else site.transpose(1, 0, 2)
    out = []
    for line in lines:
        cut = rng.integers(0, 3)  # whole, or a single beside a double
        spans = {0: [(0, 2)], 1: [(0, 1), (2, 2)], 2: [(0, 0), (1, 2)]}[int(cut)]
        out += [np.concatenate([line[a], line[b] + (2.0 if a == b else 0.0)]) for a, b in spans]
    return np.array(out)


def groups_of(x0_um: float, y0_um: float, x1_um: float, y1_um: float) -> list[tuple[int, int]]:
    """Row and column of every group that may have a gland in the box."""
    rows = range(int((y0_um - REACH_UM) // GROUP_UM), int((y1_um + REACH_UM) // GROUP_UM) + 1)
    columns = range(int((x0_um - REACH_UM) // GROUP_UM), int((x1_um + REACH_UM) // GROUP_UM) + 1)
    return [(row, column) for row in rows for column in columns]


@lru_cache(maxsize=1024)
def glands_of(world: World, row: int, column: int) -> tuple[Gland, ...]:
    """The glands of a group."""
    x0, y0 = column * GROUP_UM, row * GROUP_UM
    if is_glass(world, x0 - REACH_UM, y0 - REACH_UM, x0 + GROUP_UM + REACH_UM, y0 + GROUP_UM + REACH_UM):
        return ()
    own = spines(world, row, column)
    around = [spines(world, row + dr, column + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1) if dr or dc]
    every = np.concatenate([own, *around])
    made = (
        _gland(world, every, k, np.random.default_rng([world.seed, 34, row + 8, column + 8, k]))
        for k in range(len(own))
    )
    return tuple(gland for gland in made if gland is not None)


def _gland(world: World, every: np.ndarray, k: int, rng: np.random.Generator) -> Gland | None:
    spine = every[k]
    t = np.linspace(0, 1, 5)
    kinds = tissue_at(world, spine[0] + t * (spine[2] - spine[0]), spine[1] + t * (spine[3] - spine[1]))
    if kinds.min() != kinds.max() or kinds[0] not in (NORMAL, TUMOUR):
        return None
    malignant = bool(kinds[0] == TUMOUR)
    if rng.random() < (0.08 if malignant else 0.05):
        return None
    shape = _grown(world, every, k, int(kinds[0]), rng)
    if shape.radius.mean() < 17 or shape.radius.min() < 9:
        return None
    cribriform = malignant and rng.random() < world.cribriform
    lumina = _cribriform(shape, rng) if cribriform else _one_lumen(shape, malignant, rng)
    outline = shape.points
    goblets = np.zeros((0, 20, 2)) if malignant else _goblets(outline, lumina, rng)
    return Gland(
        number=k,
        malignant=malignant,
        outline=outline,
        lumina=lumina,
        goblets=goblets,
        nuclei=_malignant_nuclei(outline, lumina, rng) if malignant else _benign_nuclei(outline, lumina, rng),
        cleft_um=float(max(0.0, rng.normal(1.0, 3.0))),
        tone=float(rng.uniform(-1, 1)),
        secretion=float(rng.random()),
        cribriform=cribriform,
    )


def _grown(world: World, every: np.ndarray, k: int, kind: int, rng: np.random.Generator) -> _Outline:
    malignant = kind == TUMOUR
    start, end = every[k, :2], every[k, 2:]
    length = float(np.hypot(*(end - start)))
    origin, normal = _rays(start, end, max(2, int(length / 4)))
    target = rng.uniform(44, 62) if malignant else rng.uniform(33, 43)
    gap = rng.uniform(8, 20) if malignant else rng.uniform(14, 26)
    free = reach(origin[:, 0], origin[:, 1], normal[:, 0], normal[:, 1], every, k, target, gap)
    free = np.minimum(free, _within_tissue(world, origin, normal, kind, target))
    free = np.minimum.reduce([np.roll(free, s) for s in range(-2, 3)])
    place = origin + normal * target
    rough = (0.20, 0.12) if malignant else (0.09, 0.04)
    seed = int(rng.integers(1 << 30))
    wave = sum(a * noise.at_points(seed, 1, place[:, 0], place[:, 1], c) for a, c in zip(rough, (38, 15), strict=True))
    radius = free * np.clip(1 - rough[0] + wave, 0.35, 1.0)
    for _ in range(2):
        radius = (np.roll(radius, 1) + 2 * radius + np.roll(radius, -1)) / 4
    return _Outline(origin, normal, radius)


def _rays(start: np.ndarray, end: np.ndarray, sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions round a segment: parallel along its sides, fanned at its ends, so none cross."""
    turn = np.arctan2(*(end - start)[::-1])
    t = (np.arange(sides) + 0.5) / sides
    fan = np.linspace(-np.pi / 2, np.pi / 2, 26)
    angles = np.concatenate(
        [turn + fan, np.full(sides, turn + np.pi / 2), turn + np.pi + fan, np.full(sides, turn - np.pi / 2)]
    )
    down, up = end + (start - end) * t[:, None], start + (end - start) * t[:, None]
    origin = np.concatenate([np.tile(end, (26, 1)), down, np.tile(start, (26, 1)), up])
    return origin, np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _within_tissue(world: World, origin: np.ndarray, normal: np.ndarray, kind: int, longest: float) -> np.ndarray:
    r = np.linspace(0, longest, 9)[1:]
    at = origin[:, None] + normal[:, None] * r[:, None]
    same = tissue_at(world, at[..., 0], at[..., 1]) == kind
    steps = np.cumprod(same, axis=1).sum(axis=1)
    return np.concatenate([[0.0], r])[steps]


def _one_lumen(shape: _Outline, malignant: bool, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    thick = rng.uniform(19, 31) if malignant else rng.uniform(24, 33)
    at, seed = shape.points, int(rng.integers(1 << 30))
    ragged = 2.5 * noise.at_points(seed, 2, at[:, 0], at[:, 1], 11.0) + 3 * noise.at_points(
        seed, 3, at[:, 0], at[:, 1], 40.0
    )
    radius = np.minimum(shape.radius - thick + ragged, 0.8 * shape.radius)
    if malignant:
        radius = np.clip(radius, 1.2, None)
    else:
        wide = rng.uniform(2.5, 8) if rng.random() < 0.8 else rng.uniform(8, 16)
        radius = np.clip(np.minimum(radius, wide + ragged), 1.5, None)
    if radius.mean() < 2.2:
        return ()
    for _ in range(2):
        radius = (np.roll(radius, 1) + 2 * radius + np.roll(radius, -1)) / 4
    return (shape.origin + shape.normal * np.minimum(radius, shape.radius - 8)[:, None],)


def _cribriform(shape: _Outline, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    outline = shape.points
    low, high = outline.min(axis=0), outline.max(axis=0)
    trial = rng.uniform(low, high, (90, 2))
    size = rng.uniform(5, 17, 90)
    deep = edge_distance(trial, outline)
    fits = np.flatnonzero(deep > size + 13)
    order = fits[np.argsort(-size[fits])][:40]
    keep = order[spaced(trial[order, 0], trial[order, 1], size[order] + 7, size[order] + 7, np.zeros(len(order)), 1.0)]
    n = len(keep)
    axes = np.stack([size[keep], size[keep] * rng.uniform(0.6, 1.0, n)], axis=1)
    holes = ovals(
        trial[keep],
        axes,
        rng.uniform(0, np.pi, n),
        rng.uniform(0, 0.09, (n, 2)),
        rng.uniform(0, 6, (n, 2)),
        bend=np.zeros(n),
    )
    return tuple(holes)


def _walk(outline: np.ndarray, step_um: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points about `step_um` apart on the outline and the inward direction there."""
    closed = np.concatenate([outline, outline[:1]])
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    n = max(3, int(at[-1] / step_um))
    s = (np.arange(n) + rng.uniform(-0.3, 0.3, n) + rng.random()) / n * at[-1] % at[-1]

    def point(s: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(s % at[-1], at, closed[:, axis]) for axis in (0, 1)], axis=1)

    tangent = point(s + 4) - point(s - 4)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    inward = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    return point(s), inward


def _room(xy: np.ndarray, outline: np.ndarray, lumina: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """How far each point is from the outline (inside) and from the nearest lumen."""
    clear = np.full(len(xy), np.inf)
    for lumen in lumina:
        clear = np.minimum(clear, -edge_distance(xy, lumen))
    return edge_distance(xy, outline), clear


def _benign_nuclei(outline: np.ndarray, lumina: tuple[np.ndarray, ...], rng: np.random.Generator) -> Cells:
    base, inward = _walk(outline, rng.uniform(3.9, 5.0), rng)
    n = len(base)
    a, b = rng.normal(4.3, 0.5, n).clip(3, 5.6), rng.normal(2.7, 0.3, n).clip(2, 3.4)
    xy = base + inward * (1.05 * a + 0.8 + rng.gamma(2.0, 0.5, n))[:, None]
    angle = np.arctan2(inward[:, 1], inward[:, 0]) + rng.normal(0, 0.22, n)
    return _kept(Placed(xy, np.stack([a, b], axis=1), angle), (outline, lumina), rng, slack=0.84, look=cells.BENIGN)


def _malignant_nuclei(outline: np.ndarray, lumina: tuple[np.ndarray, ...], rng: np.random.Generator) -> Cells:
    size, stretch = rng.uniform(2.5, 3.7), rng.uniform(1.35, 2.2)
    parts = []
    for layer in range(1 + int(rng.integers(2, 4)) + (6 if len(lumina) != 1 else 0)):
        base, inward = _walk(outline, 2 * size * 0.86, rng)
        depth = size * stretch * (1.12 + 0.9 * layer) + rng.normal(0, 2.4, len(base))
        parts.append(np.concatenate([base + inward * depth[:, None], inward], axis=1))
    parts.append(_strewn(outline, size * size * stretch, rng))
    every = np.concatenate(parts)
    n = len(every)
    b = (size * rng.lognormal(0, 0.14, n)).clip(2.4, 5.6)
    a = (b * rng.normal(stretch, 0.22, n)).clip(b, 9.0)
    angle = np.arctan2(every[:, 3], every[:, 2]) + rng.normal(0, 0.3, n)
    placed = Placed(every[:, :2], np.stack([a, b], axis=1), angle)
    return _kept(placed, (outline, lumina), rng, slack=0.63, look=cells.MALIGNANT)


def _strewn(outline: np.ndarray, area_um2: float, rng: np.random.Generator) -> np.ndarray:
    """float64 [n, 4]: places anywhere about the gland, and the direction from the nearest point of its outline."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    at = rng.uniform(low, high, (int(np.prod(high - low) / area_um2), 2))
    nearest = np.square(at[:, None] - outline[None, ::2]).sum(axis=2).argmin(axis=1)
    return np.concatenate([at, at - outline[::2][nearest]], axis=1)


@dataclass(frozen=True, slots=True)
class Placed:
    """Ellipses: centres, half axes [n, 2] and angles of the first axis."""

    xy: np.ndarray
    axes: np.ndarray
    angle: np.ndarray


def _kept(
    placed: Placed,
    walls: tuple[np.ndarray, tuple[np.ndarray, ...]],
    rng: np.random.Generator,
    *,
    slack: float,
    look: int,
) -> Cells:
    xy, axes, angle = placed.xy, placed.axes, placed.angle
    outline, lumina = walls
    deep, clear = _room(xy, outline, lumina)
    fits = np.flatnonzero((deep > axes[:, 1] + 0.6) & (clear > axes[:, 1] + 1.5))
    for end in (-1.05, 1.05):
        turn = angle[fits]
        tip = xy[fits] + end * axes[fits, :1] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        fits = fits[np.minimum(*_room(tip, outline, lumina)) > 0.4]
    keep = fits[spaced(xy[fits, 0], xy[fits, 1], axes[fits, 0], axes[fits, 1], angle[fits], slack)]
    made = cells.made(xy[keep], axes[keep], angle[keep], np.full(len(keep), look), rng)
    corners = made.outline.reshape(-1, 2)
    deep, clear = _room(corners, outline, lumina)
    return made.take((np.minimum(deep, clear) > 0.1).reshape(len(made), -1).all(axis=1))


def _goblets(outline: np.ndarray, lumina: tuple[np.ndarray, ...], rng: np.random.Generator) -> np.ndarray:
    """Vacuoles between the nuclei at the base and the lumen, like petals; how many, differs from gland to gland."""
    base, inward = _walk(outline, 2.6, rng)
    n, foot = len(base), rng.uniform(8.0, 10.0)
    _, ahead = _room(base + inward * foot, outline, lumina)
    least, most = sorted(rng.uniform(3.8, 7.6, 2).tolist())
    b = rng.uniform(least, most, n)
    a = np.clip(np.minimum(rng.uniform(6.5, 12.5, n), 0.5 * ahead + rng.uniform(-1, 1.5, n)), b, None)
    xy = base + inward * (foot + a + rng.uniform(0, 2.5, n))[:, None]
    angle = np.arctan2(inward[:, 1], inward[:, 0]) + rng.normal(0, 0.12, n)
    deep, clear = _room(xy, outline, lumina)
    fits = np.flatnonzero((deep > b + 6) & (clear > b * 0.7))
    keep = fits[spaced(xy[fits, 0], xy[fits, 1], a[fits], b[fits], angle[fits], 0.93)]
    keep = keep[rng.random(len(keep)) < min(1.0, rng.uniform(0.3, 1.3))]
    k = len(keep)
    wobble = np.stack([rng.uniform(0, 0.06, k), rng.uniform(0.02, 0.11, k)], axis=1)
    return ovals(xy[keep], np.stack([a, b], axis=1)[keep], angle[keep], wobble, np.zeros((k, 2)), bend=np.zeros(k))
