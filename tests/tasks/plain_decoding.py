"""The same decoding said plainly: one object, one pixel, one step at a time, in whole numbers of Python."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from scipy import ndimage

from geryon.space.windows import Window
from geryon.tasks import peaks, regions
from geryon.tasks.task import Task

Place = tuple[int, int]
"""Row and column."""
Ring = list[tuple[float, float]]
"""Points x, y."""
ROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
CROSS = [(-1, 0), (0, -1), (0, 1), (1, 0)]
AHEAD = [(0, 1), (1, 0), (0, -1), (-1, 0)]
"""Along the top, right, bottom and left side of a pixel, the pixel on the right hand."""
MIDDLE = [(0.0, 0.5), (0.5, 1.0), (1.0, 0.5), (0.5, 0.0)]


def heights(depth: np.ndarray) -> np.ndarray:
    """256 times the map under a 5 x 5 binomial kernel, zeros outside."""
    once = np.array([1, 4, 6, 4, 1])
    kernel = once[:, None] * once[None, :]
    padded = np.pad(depth.astype(np.int64), 2)
    out = np.zeros(depth.shape, np.int64)
    for y, x in np.ndindex(depth.shape):
        out[y, x] = (kernel * padded[y : y + 5, x : x + 5]).sum()
    return out


def found(maps: Mapping[str, np.ndarray], window: Window) -> np.ndarray:
    """int32 [y, x]: objects whose peak lies in the core."""
    inside = {tuple(at) for at in np.argwhere(maps["inside"][..., 0] >= peaks.INSIDE).tolist()}
    height = heights(maps["depth"][..., 0])

    def rank(at: Place) -> tuple[int, int, int]:
        """Higher is later; of equal heights the first in reading order."""
        return int(height[at]), -at[0], -at[1]

    basin = basins(inside, rank, peaks.STEPS)
    home = homes(basin, inside, height, rank)
    labels = np.zeros(height.shape, np.int32)
    (x0, y0), (rows, columns) = window.offset, window.core.shape
    number = 0
    of_home: dict[Place, set[Place]] = {}
    for at, top in basin.items():
        of_home.setdefault(home[top], set()).add(at)
    for peak in sorted(at for at, top in basin.items() if at == top):
        in_core = y0 <= peak[0] < y0 + rows and x0 <= peak[1] < x0 + columns
        if home[peak] != peak or height[peak] < peaks.PEAK or not in_core:
            continue
        number += 1
        for at in connected({at for at in of_home[peak] if near(at, peak)}, peak):
            labels[at] = number
    return labels


def basins(inside: set[Place], rank: object, steps: int) -> dict[Place, Place]:
    """The peak at which each pixel arrives within that many steps; those that do not are left out."""
    up = {(y, x): max([(y, x), *_around((y, x), ROUND, inside)], key=rank) for y, x in inside}  # type: ignore[call-overload]
    out = {}
    for start in inside:
        at = start
        for _ in range(steps):
            at = up[at]
        if up[at] == at:
            out[start] = at
    return out


def homes(basin: dict[Place, Place], inside: set[Place], height: np.ndarray, rank: object) -> dict[Place, Place]:
    """The peak that each peak belongs to, over at most three saddles."""
    saddle: dict[Place, tuple[int, Place]] = {}
    for at, a in basin.items():
        for other in _around(at, CROSS, inside):
            b = basin.get(other, a)
            if rank(a) < rank(b):  # type: ignore[operator]
                met = min(int(height[at]), int(height[other]))
                best = saddle.get(a)
                if best is None or (met, rank(b)) > (best[0], rank(best[1])):  # type: ignore[operator]
                    saddle[a] = met, b
    out = {}
    for peak in {*basin.values()}:
        at = peak
        for _ in range(3):
            if at in saddle and height[at] - saddle[at][0] < peaks.DEPTH_STEP:
                at = saddle[at][1]
        out[peak] = at
    return out


def near(at: Place, peak: Place) -> bool:
    return (at[0] - peak[0]) ** 2 + (at[1] - peak[1]) ** 2 <= peaks.RADIUS_PX**2


def connected(pixels: set[Place], start: Place) -> set[Place]:
    """Those 4-connected to the first."""
    seen, waiting = {start}, [start]
    while waiting:
        new = [at for at in _around(waiting.pop(), CROSS, pixels) if at not in seen]
        seen.update(new)
        waiting += new
    return seen


def _around(at: Place, steps: list[Place], among: set[Place]) -> list[Place]:
    return [(at[0] + dy, at[1] + dx) for dy, dx in steps if (at[0] + dy, at[1] + dx) in among]


def rings(labels: np.ndarray, label: int) -> list[Ring]:
    """Around one label, in reading order of the pixels whose tops begin them."""
    mine = {tuple(at) for at in np.argwhere(labels == label).tolist()}
    walked: set[tuple[int, int, int]] = set()
    out = []
    for y, x in sorted(mine):
        if (y - 1, x) in mine or (y, x, 0) in walked:
            continue
        at = (y, x, 0)
        middles = []
        while at not in walked:
            walked.add(at)
            middles.append((at[1] + MIDDLE[at[2]][1], at[0] + MIDDLE[at[2]][0]))
            at = _next(at, mine)
        out.append(_corners(middles))
    return out


def _next(at: tuple[int, int, int], mine: set[Place]) -> tuple[int, int, int]:
    y, x, side = at
    front = y + AHEAD[side][0], x + AHEAD[side][1]
    left = (side - 1) % 4
    oblique = front[0] + AHEAD[left][0], front[1] + AHEAD[left][1]
    if oblique in mine:
        return *oblique, left
    if front in mine:
        return *front, side
    return y, x, (side + 1) % 4


def _corners(middles: Ring) -> Ring:
    """The points at which the ring turns."""
    out = []
    for i, b in enumerate(middles):
        a, c = middles[i - 1], middles[(i + 1) % len(middles)]
        before, after = (b[0] - a[0], b[1] - a[1]), (c[0] - b[0], c[1] - b[1])
        straight = before[0] * after[1] == before[1] * after[0] and before[0] * after[0] + before[1] * after[1] > 0
        if not straight:
            out.append(b)
    return out


def area(ring: Ring) -> float:
    """Shoelace."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)) / 2


def mean_u8(values: list[int]) -> int:
    """Rounded half up."""
    return (2 * sum(values) + len(values)) // (2 * len(values))


def grown(labels: np.ndarray, inside: np.ndarray, steps: int) -> np.ndarray:
    """Each step from the last one's labels; above goes before left, right, below."""
    for _ in range(steps):
        padded, new = np.pad(labels, 1), labels.copy()
        for y, x in np.argwhere((labels == 0) & inside):
            around = [padded[y + 1 + dy, x + 1 + dx] for dy, dx in CROSS]
            new[y, x] = next((label for label in around if label), 0)
        labels = new
    return labels


def fragments(maps: Mapping[str, np.ndarray], window: Window, task: Task) -> dict[str, np.ndarray]:
    """What regions.decode finds."""
    inside, rim = (maps[name][..., 0] >= regions.SURE for name in ("inside", "rim"))
    worn_px = round(task.neck_um / 2 / task.mpp)
    y, x = np.mgrid[-worn_px : worn_px + 1, -worn_px : worn_px + 1]
    disc = x * x + y * y <= worn_px * (worn_px + 0.5)
    worn = ndimage.binary_erosion(inside & ~rim, disc) if worn_px else inside & ~rim
    cores = cv2.connectedComponents(worn.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)[1]
    labels = grown(cores, inside, regions.GROW_STEPS + worn_px)
    (left, top), (rows, columns) = window.offset, window.core.shape
    grow = regions.LINK_PX
    band = cores[top - grow : top + rows + grow, left - grow : left + columns + grow]
    core = labels[top : top + rows, left : left + columns]
    numbers = np.setdiff1d(np.union1d(band, core), [0])
    short = {0: 0, **{int(number): i + 1 for i, number in enumerate(numbers)}}
    channels = [maps["inside"], *([maps["class"]] if "class" in maps else [])]
    values = np.concatenate(channels, axis=2)[top : top + rows, left : left + columns].astype(np.int64)
    places = [np.argwhere(core == number) for number in numbers]
    return {
        "labels": np.vectorize(short.get, otypes=[np.int32])(core),
        "band": np.vectorize(short.get, otypes=[np.int32])(band),
        "place": np.array([[len(at), at[:, 1].sum(), at[:, 0].sum()] for at in places]).reshape(-1, 3),
        "sums": np.array([values[at[:, 0], at[:, 1]].sum(axis=0) for at in places]).reshape(-1, values.shape[2]),
    }
