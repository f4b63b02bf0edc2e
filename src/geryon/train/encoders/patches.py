"""Patch tasks: places on a source's images with a class each, and the patches themselves, cut when they are asked for.

A place without its jitter is always the same patch: that is what validation and probes see. Training moves it by up to
the task's jitter. Images finer than the patches are resampled once; coarser ones stay as they are and are interpolated
while a patch is cut, which also turns and deforms it. Beyond an image its mirror stands, so that no place has to move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from geryon import plugins
from geryon.errors import InputError
from geryon.space import units
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, get_source
from geryon.train.warp import Warp

PATCH_TASKS = {
    "consep": "geryon.train.encoders.tasks.consep:CONSEP",
    "crchisto": "geryon.train.encoders.tasks.crchisto:CRCHISTO",
    "ebhi": "geryon.train.encoders.tasks.ebhi:EBHI",
    "glas": "geryon.train.encoders.tasks.glas:GLAS",
    "kather": "geryon.train.encoders.tasks.kather:KATHER",
    "lc25000": "geryon.train.encoders.tasks.lc25000:LC25000",
}
"""Entry points of the group geryon.patch_tasks add to it."""
FINER = 0.9
"""Images whose µm per pixel is below this part of the patches' are resampled to theirs."""
GLASS = 215
"""A pixel all of whose channels are above this (of 255) is glass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What one image offers: centres of patches with a class."""

    xy_um: np.ndarray
    """float64 [n, 2]: x, y from the image's top left, in µm."""
    labels: np.ndarray
    """int64 [n]: index of the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchTask:
    """A patch-classification task over one source."""

    name: str
    source: str
    """In train.source.SOURCES; its folder below the data folder has the same name."""
    classes: tuple[str, ...]
    look: Callable[[Case, np.ndarray, float], Places]
    """From a case, its image (uint8 [y, x, 3]) and the side of a patch in µm to its places."""
    jitter_um: float
    """How far training moves a place in x and in y, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of a task."""

    task: str
    source: str
    group: str
    name: str
    stratum: str
    """The class of the image, where all its patches have the same."""
    pixels: np.ndarray
    """uint8 [y, x, 3]"""
    mpp: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """All places of one task."""

    task: PatchTask
    images: tuple[Image, ...]
    image: np.ndarray
    """int64 [n]: index of each place's image."""
    xy_um: np.ndarray
    """float64 [n, 2]: x, y"""
    labels: np.ndarray
    """int64 [n]"""

    @property
    def groups(self) -> np.ndarray:
        """str [n]: the group of each place."""
        return np.array([image.group for image in self.images], dtype=np.str_)[self.image]

    def of_images(self, keep: Iterable[bool]) -> Patches:
        """The places on some of the images."""
        kept = np.fromiter(keep, bool, len(self.images))
        rows = kept[self.image]
        number = np.cumsum(kept) - 1
        return replace(
            self,
            images=tuple(image for image, k in zip(self.images, kept, strict=True) if k),
            image=number[self.image[rows]],
            xy_um=self.xy_um[rows],
            labels=self.labels[rows],
        )

    def rows(self, which: np.ndarray) -> Patches:
        """Those of these places, all images kept."""
        return replace(self, image=self.image[which], xy_um=self.xy_um[which], labels=self.labels[which])


def get_patch_task(name: str) -> PatchTask:
    """The patch task of that name, ours or another package's."""
    task: PatchTask = plugins.find(PATCH_TASKS, "geryon.patch_tasks", name)
    return task


def source_of(task: PatchTask) -> Source:
    """The source whose images a task shows."""
    return get_source(task.source)


def gather(task: PatchTask, data: Path, *, patch_um: float, mpp: float) -> Patches:
    """All places of a task, their images in memory (uint8).

    Raises InputError where the source's folder below `data` lacks, or no place is found in it.
    """
    images: list[Image] = []
    found: list[Places] = []
    for case in source_of(task).cases(data / task.source):
        pixels = case.image()
        places = task.look(case, pixels, patch_um)
        if not len(places.labels):
            continue
        found.append(places)
        images.append(_image(task, case, pixels, places, mpp))
    if not found:
        raise InputError(
            what=f"no patch of the task {task.name} is in it",
            where=str(data / task.source),
            mend="give the folder that holds the source's (--data)",
        )
    return Patches(
        task=task,
        images=tuple(images),
        image=np.repeat(np.arange(len(found)), [len(places.labels) for places in found]),
        xy_um=np.concatenate([places.xy_um for places in found]),
        labels=np.concatenate([places.labels for places in found]).astype(np.int64),
    )


def _image(task: PatchTask, case: Case, pixels: np.ndarray, places: Places, mpp: float) -> Image:
    own = case.mpp
    if own < FINER * mpp:
        height, width = pixels.shape[:2]
        size = max(1, round(units.px(width * own, mpp))), max(1, round(units.px(height * own, mpp)))
        pixels, own = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), mpp
    kinds = np.unique(places.labels)
    return Image(
        task=task.name,
        source=task.source,
        group=case.group,
        name=case.name,
        stratum=task.classes[kinds[0]] if len(kinds) == 1 else "",
        pixels=np.ascontiguousarray(pixels),
        mpp=own,
    )


def grid_um(shape: tuple[int, ...], mpp: float, patch_um: float, stride_um: float) -> np.ndarray:
    """float64 [n, 2]: centres (x, y, µm) of patches that lie in an image [y, x, ...], evenly spread from edge to edge.

    Along a side that is shorter than a patch there is one, in the middle.
    """
    ys, xs = (_along(n * mpp, patch_um, stride_um) for n in shape[:2])
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def _along(side_um: float, patch_um: float, stride_um: float) -> np.ndarray:
    room = side_um - patch_um
    if room <= 0:
        return np.array([side_um / 2])
    return patch_um / 2 + np.linspace(0, room, max(2, round(room / stride_um) + 1))


def all_over(labelled: Labelled) -> str:
    """The class of a tile that is of one class all over."""
    assert labelled.raster is not None, "tiles are labelled by a raster"
    return labelled.raster_names[int(labelled.raster[0, 0]) - 1]


def share_of(where: np.ndarray, xy_um: np.ndarray, mpp: float, side_um: float) -> np.ndarray:
    """float64 [n]: how much of the square of that side about each place lies where that is true (bool [y, x])."""
    whole = np.pad(np.cumsum(np.cumsum(where, 0, dtype=np.int64), 1), ((1, 0), (1, 0)))
    height, width = where.shape
    left, top = (
        np.clip(np.round((xy_um[:, k] - side_um / 2) / mpp), 0, n).astype(int) for k, n in ((0, width), (1, height))
    )
    right, bottom = (
        np.clip(np.round((xy_um[:, k] + side_um / 2) / mpp), 0, n).astype(int) for k, n in ((0, width), (1, height))
    )
    inside = whole[bottom, right] - whole[top, right] - whole[bottom, left] + whole[top, left]
    return inside / np.maximum((right - left) * (bottom - top), 1)


def is_tissue(image: np.ndarray) -> np.ndarray:
    """bool [y, x]: not glass."""
    return image.min(axis=2) <= GLASS


def cut(
    image: Image, *, xy_um: np.ndarray, side_px: int, mpp: float, turn: int = 0, warp: Warp | None = None
) -> np.ndarray:
    """uint8 [side_px, side_px, 3]: the patch about that place (x, y) at that resolution, turned and deformed.

    `turn` is an element of the dihedral group: quarter turns, mirrored before where it is 4 or more.
    """
    matrix = (np.eye(2) if warp is None else warp.matrix) @ _TURNS[turn] * (mpp / image.mpp)
    centre = np.asarray(xy_um, np.float64) / image.mpp - 0.5
    if warp is None or warp.bend is None:
        start = centre - matrix @ np.full(2, (side_px - 1) / 2)
        return cv2.warpAffine(
            image.pixels,
            np.column_stack([matrix, start]),
            (side_px, side_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    at = (np.arange(side_px, dtype=np.float32) - (side_px - 1) / 2).astype(np.float32)
    bend = cv2.resize(warp.bend, (side_px, side_px), interpolation=cv2.INTER_LINEAR) * (mpp / image.mpp)
    (xx, xy), (yx, yy) = matrix.astype(np.float32)
    x, y = centre.astype(np.float32)
    return cv2.remap(
        image.pixels,
        x + xx * at[None, :] + xy * at[:, None] + bend[..., 0],
        y + yx * at[None, :] + yy * at[:, None] + bend[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )


_QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])
_TURNS = [np.linalg.matrix_power(_QUARTER, k % 4) @ np.diag([-1.0 if k >= 4 else 1.0, 1.0]) for k in range(8)]


def still(patches: Patches, *, side_px: int, mpp: float) -> np.ndarray:
    """uint8 [n, side_px, side_px, 3]: all places as they are, neither moved nor changed."""
    out = np.empty((len(patches.labels), side_px, side_px, 3), np.uint8)
    for k, (image, xy_um) in enumerate(zip(patches.image, patches.xy_um, strict=True)):
        out[k] = cut(patches.images[image], xy_um=xy_um, side_px=side_px, mpp=mpp)
    return out
