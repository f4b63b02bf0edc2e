"""How fast do maps become objects with outlines, measured and stored, on one core?

    python -m benchmarks.decode [--side-mm 2] [--rounds 3] [--plain-tiles 2] [--model geryon-s]

Asked (issue Speed): 30,000 nuclei a second with everything, 100,000 the goal. The maps are those of the model on a
synthetic slide, made before. Seconds are the processor time of the process, medians, every library on one thread; the
pixels that stain needs are read before. The last line is the plain way with scikit-image over a few tiles of the same
maps, stored nowhere: watershed, regionprops, find_contours.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from scipy import ndimage
from skimage import color, feature, measure, segmentation, transform

from benchmarks.machine import Seconds, interleaved, say
from geryon.flows.across import at_level0
from geryon.flows.measure import Place, shape_of
from geryon.flows.plan import cutting_of, make_plan
from geryon.flows.reading import read_window
from geryon.flows.stain import stain_of
from geryon.flows.synth import synth
from geryon.nets.model import Model, clipped, core_of, load_model
from geryon.nets.mosaic import Mosaic
from geryon.slides.reader import Slide, open_slide
from geryon.space.boxes import Box, Frame
from geryon.space.objects import Objects, join_objects
from geryon.space.windows import Window
from geryon.store.tables import TableWriter, hilbert, objects_schema, objects_table
from geryon.tasks import peaks
from geryon.tasks.runs import gathered, trace
from geryon.tasks.task import Task

COUNTED = "nuclei"
OUTLINES = "outlines alone"
"""A part of decoding, so no part of the sum."""
STORE = "store"


@dataclass(frozen=True, slots=True)
class Tile:
    """One task's maps over the outer box of a tile."""

    task: Task
    maps: dict[str, np.ndarray]
    window: Window


class ReadBefore:
    """A slide that keeps the pixels it was asked for."""

    def __init__(self, slide: Slide) -> None:
        self.frame: Frame = slide.frame
        self._slide = slide
        self._kept: dict[tuple[Box, float], np.ndarray] = {}

    def read(self, box: Box, mpp: float) -> np.ndarray:
        if (box, mpp) not in self._kept:
            self._kept[box, mpp] = self._slide.read(box, mpp)
        return self._kept[box, mpp]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side-mm", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-tiles", type=int, default=2)
    parser.add_argument("--model", default="geryon-s")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    net = load_model(args.model)
    with tempfile.TemporaryDirectory() as folder:
        path = synth(Path(folder) / "slide.tiff", size_um=(1000 * args.side_mm, 1000 * args.side_mm), seed=11)
        with open_slide(path) as slide:
            tiles = tiles_of(slide, net)
            objects = placed([found(tile) for tile in tiles if tile.task.name == COUNTED], slide.frame)
            place = Place(slide=ReadBefore(slide), mpp=net.mpp)  # type: ignore[arg-type]
            steps = steps_of(tiles, objects, place, Path(folder))
            seconds = interleaved(steps, args.rounds)
            ours = report(seconds, len(objects), args)
            few = [tile for tile in tiles if tile.task.name == COUNTED][: args.plain_tiles]
            if few:
                report_plain(few, slide, ours)


def tiles_of(slide: Slide, net: Model) -> list[Tile]:
    """Maps of all tasks over all tiles, as segment would decode them."""
    plan = make_plan(slide.frame, slide.grid_mpp(net.mpp), net, has_tissue=lambda box: True, cutting=cutting_of(net))
    mosaic = Mosaic(plan.windows, net.tasks)
    for cell in plan.kept:
        window = plan.window(cell)
        (maps,) = net.maps([read_window(slide, window.outer).image], [window.outer])
        mosaic.put(cell, clipped(core_of(maps, window), window))
    places = [(task, plan.tile(cell, task)) for cell in plan.cells for task in net.tasks]
    return [Tile(task, mosaic.region(task, window), window) for task, window in places]


def found(tile: Tile) -> Any:
    return tile.task.decode(tile.maps, tile.window, tile.task)


def placed(parts: list[Objects], level0: Frame) -> Objects:
    """One set in the slide's own pixels, neighbours together."""
    objects = join_objects([at_level0(part, level0) for part in parts])
    x, y = objects.xy.astype(np.int64).T
    return objects.take(np.argsort(hilbert(x, y, 20), kind="stable"))


def steps_of(tiles: list[Tile], objects: Objects, place: Place, folder: Path) -> dict[str, Callable[[], Any]]:
    counted = [tile for tile in tiles if tile.task.name == COUNTED]
    runs = [peaks.found(tile.maps, tile.window) for tile in counted]
    parts = [found(tile) for tile in counted]
    names = tuple(counted[0].task.class_names)
    files = count()

    def outlines() -> None:
        for each in runs:
            corners, spans, _, _ = trace(each)
            gathered(corners, spans)

    def store() -> None:
        with TableWriter(folder / f"{next(files)}.parquet", objects_schema(names)) as writer:
            ids = np.arange(len(objects), dtype=np.uint64)
            writer.write(objects_table(objects, ids=ids, class_names=names, area_um2=objects.area / 4))

    return {
        "decode all tasks, outlines too": lambda: [found(tile) for tile in tiles],
        OUTLINES: outlines,
        "place in the slide": partial(placed, parts, objects.frame),
        "shape": partial(shape_of, objects.outlines, place),
        "stain": partial(stain_of, objects.outlines, place),
        STORE: store,
    }


def report(seconds: dict[str, Seconds], n: int, args: argparse.Namespace) -> float:
    """Lines of all steps; nuclei a second without the store, which the plain way has not."""
    size = {"mm2": args.side_mm**2, "maps": args.model}
    for name, each in seconds.items():
        tell(name, each, n, size=size)
    in_turn = [each for name, each in seconds.items() if name != OUTLINES]
    whole = Seconds(summed(each.wall for each in in_turn), summed(each.cpu for each in in_turn))
    tell("all together", whole, n, asked=30_000, size=size)
    return n / (whole.core_seconds - seconds[STORE].core_seconds)


def summed(steps: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """Of each round."""
    return tuple(map(sum, zip(*steps, strict=True)))


def report_plain(tiles: list[Tile], slide: Slide, ours: float) -> None:
    images = [slide.read(tile.window.outer, tile.window.frame.mpp_x) for tile in tiles]
    counted: list[int] = []

    def plain() -> None:
        counted.append(sum(plainly(tile, image) for tile, image in zip(tiles, images, strict=True)))

    seconds = interleaved({"plain": plain}, 1)["plain"]
    times = ours * seconds.core_seconds / counted[0]
    tell("scikit-image, without store", seconds, counted[0], size={"tiles": len(tiles)}, times_as_fast_is_ours=times)


def tell(question: str, seconds: Seconds, n: int, **more: Any) -> None:
    found = seconds.rate(n, of="cpu")
    told = {"unit": "nuclei/s", "better": "higher", "nuclei": n, "cpu_seconds": seconds.core_seconds}
    say("decode", question, **found, **told, **more)


def plainly(tile: Tile, image: np.ndarray) -> int:
    """The usual way to the same columns; how many nuclei lie in the core."""
    inside, depth = tile.maps["inside"][..., 0], tile.maps["depth"][..., 0] / 255.0
    mask, height = inside >= peaks.INSIDE, ndimage.gaussian_filter(depth, 1.0)
    at = feature.peak_local_max(height, min_distance=4, threshold_abs=peaks.PEAK / 65280, labels=mask.astype(int))
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(at.T)] = np.arange(1, len(at) + 1)
    labels = segmentation.clear_border(segmentation.watershed(-height, markers, mask=mask))
    classes = transform.resize(tile.maps["class"], (*mask.shape, tile.maps["class"].shape[2]), order=0)
    values = np.concatenate([inside[..., None], classes, color.rgb2hed(image)[..., :2]], axis=2)
    names = (
        "area",
        "centroid",
        "bbox",
        "perimeter",
        "axis_major_length",
        "axis_minor_length",
        "eccentricity",
        "solidity",
    )
    table = measure.regionprops_table(labels, values, properties=("label", *names, "intensity_mean", "intensity_std"))
    for label, top, left, bottom, right in zip(table["label"], *(table[f"bbox-{k}"] for k in range(4)), strict=True):
        measure.find_contours(np.pad(labels[top:bottom, left:right] == label, 1), 0.5)
    (x, y), (rows, columns) = tile.window.offset, tile.window.core.shape
    row, column = table["centroid-0"] - y, table["centroid-1"] - x
    return int(((row >= 0) & (row < rows) & (column >= 0) & (column < columns)).sum())


if __name__ == "__main__":
    main()
