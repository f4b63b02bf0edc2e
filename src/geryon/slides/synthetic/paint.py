"""Paint a chunk of the plane: amounts of stain from tissue, glands and cells, then the picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from geryon.slides.synthetic import ground, noise
from geryon.slides.synthetic.between import cells_between
from geryon.slides.synthetic.cells import BENIGN, EOSINOPHIL, KINDS, MALIGNANT, Cells
from geryon.slides.synthetic.glands import Gland, glands_of, groups_of
from geryon.slides.synthetic.layout import World, fibres, is_glass
from geryon.slides.synthetic.polygons import fill
from geryon.slides.synthetic.signet import Signets, signets_of
from geryon.slides.synthetic.stain import Look, developed, scanned
from geryon.slides.synthetic.surroundings import BLOCK_UM, clearance
from geryon.space.arrays import Image

CHUNK_PX = 512
"""The picture is made in squares of it, so that it does not depend on the box asked for."""
RIM_PX = 16
"""Painted around a chunk for the lens and for depths."""
FAR_UM = 32.0
"""Farther glands don't bend fibres or shrink away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Pixel centres in µm, and what lies there."""

    x_um: np.ndarray
    y_um: np.ndarray
    mpp: float
    glands: tuple[Gland, ...]
    nuclei: tuple[Cells, ...]
    signets: tuple[Signets, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y_um), len(self.x_um)

    def labels(self, polygons: list[np.ndarray]) -> np.ndarray:
        """int32 [y, x]: number + 1 of the polygon at each pixel."""
        return fill(
            np.zeros(self.shape, np.int32), polygons, np.arange(1, len(polygons) + 1), x_px=self.x_um, y_px=self.y_um
        )

    def grain(self, world: World, salt: int, cell_um: float) -> np.ndarray:
        return noise.on_grid(world.seed, salt, cell_um, self.x_um, self.y_um)


@lru_cache(maxsize=48)
def chunk(world: World, look: Look, mpp: float, column: int, row: int) -> Image:
    """uint8 [CHUNK_PX, CHUNK_PX, 3]: the picture of a chunk; shared, so not to be written to."""
    size = CHUNK_PX * mpp
    x0, y0 = column * size, row * size
    if is_glass(world, x0 - FAR_UM, y0 - FAR_UM, x0 + size + FAR_UM, y0 + size + FAR_UM):
        light = np.broadcast_to(np.array(look.white, np.float32), (CHUNK_PX, CHUNK_PX, 3))
    else:
        light = _light(world, look, mpp, column, row)
    image = scanned(light, look, world.seed, (column, row))
    image.flags.writeable = False
    return image


def _light(world: World, look: Look, mpp: float, column: int, row: int) -> np.ndarray:
    canvas = _canvas(world, mpp, column, row)
    near = _near_glands(canvas)
    h, e, blood = ground.painted(world, canvas, near, fibres(world, canvas.x_um, canvas.y_um, near))
    blood[_glands(world, canvas, h, e)] = 0
    blood[_signets(world, canvas, h, e)] = 0
    _nuclei(world, canvas, (h, e, blood))
    _speckle(world, canvas, h, e)
    return developed(h, e, blood, look, mpp)[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX]


def _speckle(world: World, canvas: Canvas, h: np.ndarray, e: np.ndarray) -> None:
    """The grain of anything stained, finer than the painters' own."""
    for amount, salt, strength in ((h, 76, 0.5), (e, 77, 0.5)):
        fine, wide = (noise.speckle(world.seed, salt + k, c, canvas.x_um, canvas.y_um) for k, c in ((0, 0.8), (2, 1.5)))
        amount *= 1 - strength + strength * (fine + wide)


def _canvas(world: World, mpp: float, column: int, row: int) -> Canvas:
    span = np.arange(-RIM_PX, CHUNK_PX + RIM_PX) + 0.5
    x, y = (span + column * CHUNK_PX) * mpp, (span + row * CHUNK_PX) * mpp
    box = (x[0] - FAR_UM, y[0] - FAR_UM, x[-1] + FAR_UM, y[-1] + FAR_UM)
    glands = tuple(gland for at in groups_of(*box) for gland in glands_of(world, *at) if _meets(gland.outline, box))
    blocks = blocks_of(box[0] + FAR_UM - 14, box[1] + FAR_UM - 14, box[2] - FAR_UM + 14, box[3] - FAR_UM + 14)
    between = tuple(cells_between(world, *at) for at in blocks)
    signets = tuple(signets_of(world, *at) for at in blocks) if world.signet else ()
    nuclei = (*between, *(g.nuclei for g in glands))
    return Canvas(x_um=x, y_um=y, mpp=mpp, glands=glands, nuclei=nuclei, signets=signets)


def blocks_of(x0_um: float, y0_um: float, x1_um: float, y1_um: float) -> list[tuple[int, int]]:
    """Row and column of every block of cells that meets the box."""
    rows, columns = (range(int(a // BLOCK_UM), int(b // BLOCK_UM) + 1) for a, b in ((y0_um, y1_um), (x0_um, x1_um)))
    return [(row, column) for row in rows for column in columns]


def _meets(outline: np.ndarray, box: tuple[float, float, float, float]) -> bool:
    low, high = outline.min(axis=0), outline.max(axis=0)
    return bool(low[0] < box[2] and low[1] < box[3] and high[0] > box[0] and high[1] > box[1])


def _near_glands(canvas: Canvas) -> np.ndarray:
    """float32 [y, x]: µm to the nearest gland, 0 inside one; worked out at about 1 µm."""
    every = max(1, round(1.0 / canvas.mpp))
    step = canvas.mpp * every
    rim = int(np.ceil(FAR_UM / step))
    grids = []
    for centre in (canvas.x_um, canvas.y_um):
        n = len(centre) // every
        grids.append(centre[0] - canvas.mpp / 2 + (np.arange(-rim, n + rim) + 0.5) * step)
    outlines = [g.outline for g in canvas.glands]
    filled = np.zeros((len(grids[1]), len(grids[0])), np.uint8)
    distance = clearance(fill(filled, outlines, np.ones(len(outlines)), x_px=grids[0], y_px=grids[1])) * step
    inner = np.minimum(distance, FAR_UM)[rim:-rim, rim:-rim]
    return cv2.resize(inner, canvas.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _depth(labels: np.ndarray, canvas: Canvas) -> np.ndarray:
    """float32 [y, x]: µm inside the labelled regions, as far as the rim of the canvas lets one see."""
    if not labels.any():
        return np.zeros(labels.shape, np.float32)
    edges = (labels > 0).astype(np.uint8)
    edges[1:][labels[1:] != labels[:-1]] = 0
    edges[:, 1:][labels[:, 1:] != labels[:, :-1]] = 0
    return np.minimum(cv2.distanceTransform(edges, cv2.DIST_L2, 3) * canvas.mpp, RIM_PX * canvas.mpp)


def _glands(world: World, canvas: Canvas, h: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Paint them; where they are, bool [y, x]."""
    glands = canvas.glands
    of = canvas.labels([g.outline for g in glands])
    inside = of > 0
    if not inside.any():
        return inside

    def per_gland(values: list[float]) -> np.ndarray:
        return np.array([0.0, *values], np.float32)[of]

    malignant, tone = per_gland([float(g.malignant) for g in glands]), per_gland([g.tone for g in glands])
    depth = _depth(of, canvas)
    fine, mid = canvas.grain(world, 61, 1.6), canvas.grain(world, 62, 5.0)
    apex = np.clip(depth / 22.0, 0, 1)
    cyto_e = 0.31 + 0.12 * malignant + 0.07 * tone + 0.07 * mid + 0.06 * fine
    cyto_h = 0.13 + 0.09 * malignant - 0.07 * apex + 0.05 * tone + 0.06 * canvas.grain(world, 63, 9.0) + 0.045 * fine
    base = np.exp(-np.square(depth / 0.9))
    np.copyto(e, cyto_e + 0.18 * base * (1 - malignant), where=inside)
    np.copyto(h, cyto_h + 0.08 * np.exp(-depth / 5.0) * (1 - malignant), where=inside)
    _goblets(canvas, h, e, mid, fine)
    _lumina(world, canvas, h, e)
    return inside


def _goblets(canvas: Canvas, h: np.ndarray, e: np.ndarray, mid: np.ndarray, fine: np.ndarray) -> None:
    polygons = [p for g in canvas.glands for p in g.goblets]
    of = canvas.labels(polygons)
    if not of.any():
        return
    tints = [
        0.5 + 0.5 * np.sin(37.7 * (i + g.number) + 9 * g.tone) for g in canvas.glands for i in range(len(g.goblets))
    ]
    tint = np.array([0.0, *tints], np.float32)[of]
    depth = _depth(of, canvas)
    soft = np.clip(depth / 1.3, 0, 1)
    e *= 1 - soft * (of > 0) * (0.93 - 0.25 * tint)
    h += soft * (0.02 + 0.10 * tint + 0.05 * mid + 0.02 * fine - h) * (of > 0)


def _lumina(world: World, canvas: Canvas, h: np.ndarray, e: np.ndarray) -> None:
    pairs = [(lumen, g) for g in canvas.glands for lumen in g.lumina]
    of = canvas.labels([lumen for lumen, _ in pairs])
    if not of.any():
        return
    inside = of > 0
    dirt = np.array([0.0, *(g.secretion * g.malignant for _, g in pairs)], np.float32)[of]
    slime = np.array([0.0, *(g.secretion * (not g.malignant) for _, g in pairs)], np.float32)[of]
    n1, n2, n3 = canvas.grain(world, 65, 14.0), canvas.grain(world, 66, 3.2), canvas.grain(world, 67, 1.3)
    depth = _depth(of, canvas)
    clot = np.clip(3 * (n1 + 0.7 * n2 + 1.5 * dirt - 0.95), 0, 1) * np.clip(depth / 3, 0, 1) * (dirt > 0.25)
    np.copyto(e, 0.012 + 0.03 * slime * (1 + n2) + clot * (0.34 + 0.14 * n3 + 0.08 * n2), where=inside)
    dust = np.clip(4 * (n3 + 0.6 * n2 - 0.75), 0, 1) * clot
    np.copyto(h, 0.01 + 0.10 * slime * np.clip(0.6 + n1 + 0.4 * n2, 0, 1) + 0.05 * clot + 0.7 * dust, where=inside)
    border = np.exp(-np.square((depth - 0.4) / 0.7)) * inside
    e += 0.22 * border
    h += 0.05 * border


def _signets(world: World, canvas: Canvas, h: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Paint signet ring cells without their nuclei; where they are, bool [y, x]."""
    inside = canvas.labels([o for s in canvas.signets for o in s.outline]) > 0
    if not inside.any():
        return inside
    dense = (canvas.labels([o for s in canvas.signets for o in s.dense]) > 0).astype(np.float32)
    dense = cv2.GaussianBlur(dense, (0, 0), 0.7 / canvas.mpp) * 0.8
    of = canvas.labels([o for s in canvas.signets for o in s.vacuole])
    tint = np.concatenate([[0.0], *(s.tint for s in canvas.signets)]).astype(np.float32)[of]
    fine, mid = canvas.grain(world, 84, 0.9), canvas.grain(world, 85, 3.0)
    e += dense * (0.33 + 0.06 * mid - e)
    h += dense * (0.34 + 0.08 * mid + 0.05 * fine - h)
    np.copyto(e, 0.30 + 0.06 * mid, where=inside)
    np.copyto(h, 0.32 + 0.06 * mid + 0.04 * fine, where=inside)
    soft = np.clip(_depth(of, canvas) / 0.9, 0, 1) * (of > 0)
    e += soft * (0.05 + 0.22 * tint + 0.03 * mid + 0.06 * fine - e)
    h += soft * (0.05 + 0.28 * tint + 0.03 * mid + (0.08 + 0.06 * tint) * fine - h)
    return inside


def _nuclei(world: World, canvas: Canvas, amounts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    h, e, blood = amounts
    kind = np.concatenate([c.kind for c in canvas.nuclei])
    if not len(kind):
        return
    outlines = np.concatenate([c.outline for c in canvas.nuclei])
    low, high = outlines.min(axis=1), outlines.max(axis=1)
    reach = 6.0
    seen = (low[:, 0] < canvas.x_um[-1] + reach) & (high[:, 0] > canvas.x_um[0] - reach)
    seen &= (low[:, 1] < canvas.y_um[-1] + reach) & (high[:, 1] > canvas.y_um[0] - reach)
    at = np.flatnonzero(seen)
    kind, outlines = kind[at], outlines[at]
    density = np.concatenate([c.density for c in canvas.nuclei])[at]
    _bodies(world, canvas, kind, np.concatenate([c.around for c in canvas.nuclei])[at], amounts)
    of = canvas.labels(list(outlines))

    def per_nucleus(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], values]).astype(np.float32)[of]

    inside = of > 0
    depth = _depth(of, canvas)
    clump, vesicle = (np.array([getattr(k, name) for k in KINDS])[kind] for name in ("clump", "vesicle"))
    own = np.random.default_rng(7).random(4096)[(density * 1e6).astype(np.int64) % 4096]
    chromatin = 0.55 * canvas.grain(world, 71, 1.15) + 0.6 * canvas.grain(world, 72, 2.1)
    pale = per_nucleus(vesicle * (0.4 + 1.2 * own)) * np.clip((depth - 0.6) / 1.2, 0, 1)
    patchy = 1 + 0.14 * canvas.grain(world, 74, 90.0) + 0.10 * canvas.grain(world, 75, 7.0)
    rough = 1 + 1.3 * per_nucleus(clump) * chromatin
    strength = (
        per_nucleus(density) * np.clip(0.48 + depth / 1.9, 0, 1) * patchy * (1 - pale) * np.clip(rough, 0.35, 1.7)
    )
    big = per_nucleus(((kind == MALIGNANT) & (own > 0.35)) * 1.0 + 0.45 * ((kind == BENIGN) & (own > 0.6)))
    nucleolus = big * np.clip(5 * (chromatin - 0.62), 0, 1) * np.clip((depth - 1.0) / 0.8, 0, 1)
    blood[inside] = 0
    np.copyto(h, np.maximum(strength + 0.5 * nucleolus, h * 0.9), where=inside)
    np.copyto(e, 0.22 + 0.05 * chromatin + 0.15 * nucleolus + 0.2 * e, where=inside)


def _bodies(
    world: World, canvas: Canvas, kind: np.ndarray, around: np.ndarray, amounts: tuple[np.ndarray, ...]
) -> None:
    """Cytoplasm of single cells; amounts: haematoxylin, eosin, and the orange of blood, which eosinophils have too."""
    size, eosin, haematoxylin = np.array([k.cytoplasm for k in KINDS]).T
    orange = np.where(np.arange(len(KINDS)) == EOSINOPHIL, 0.17, 0.0)
    some = np.flatnonzero(size[kind] > 0)
    of = canvas.labels(list(around[some]))
    if not of.any():
        return
    inside = of > 0
    granules = 1 + 0.35 * canvas.grain(world, 73, 1.2)
    for amount, dose in zip(amounts, (haematoxylin, eosin, orange), strict=True):
        own = np.concatenate([[0.0], dose[kind[some]]]).astype(np.float32)[of] * granules
        np.copyto(amount, 0.75 * own + 0.4 * amount, where=inside)
