"""Which reader back end gives pixels fastest? The same windows of the same files by each.

    python -m benchmarks.read [--rounds 3] [--data DIR]

Windows of 1216 px at steps of 1024 px, as a run reads them, at the level's own resolution and at half of it (area
means). The value is megapixels a second of one core: a core that reads does not compute. Files are a synthetic
slide, written as an Aperio file of JPEG tiles so that all back ends know it, and real ones under --data. Ratios are
told of back ends against the one that geryon takes for the file; `mean_difference` of their pixels (0 to 255) says
whether they read the same.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from benchmarks.machine import Seconds, interleaved, ratio_of, say, skip
from geryon.errors import InputError
from geryon.slides import openslide_, tiff
from geryon.slides.reader import Level, Reader, Slide, levels_of, open_slide, slide_of
from geryon.slides.synthetic import SyntheticSlide
from geryon.space.boxes import Box

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "wsi_small"
REAL = (
    "aperio/CMU-1-Small-Region.svs",
    "aperio/tcga-cr-7395-01a-01-ts1.svs",
    "tiff/CMU-1-Small-Region.jpeg.tiff",
    "hamamatsu/test3-TRITC-2-560.ndpi",
)
MPP = 0.5
"""Of files that do not tell it: speed does not depend on it."""
WINDOW_PX, STEP_PX = 1216, 1024
TILE_PX = 256
COARSER = (1, 2)
"""Downsamples of the level that windows are read at."""


class FastSlideReader:
    """A file open in fastslide, which is compared here and no dependency of the package."""

    thread_safe = True
    origin_level0 = (0, 0)
    objective = None

    def __init__(self, path: Path) -> None:
        import fastslide

        try:
            self._slide = fastslide.FastSlide.from_file_path(path, cache=tiff.KEEP_BYTES)
        except RuntimeError as error:
            raise InputError(what=f"fastslide refuses it: {error}", where=path.name) from error
        self.levels: tuple[Level, ...] = levels_of(list(self._slide.level_dimensions))
        self.mpp = (MPP, MPP)

    def read(self, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        x0, y0, x1, y1 = box
        return np.ascontiguousarray(self._slide.read_region((x0, y0), level, (x1 - x0, y1 - y0)).numpy()[..., :3])

    def close(self) -> None:
        self._slide.close()


BACK_ENDS: dict[str, Callable[[Path], Reader]] = {
    "tiff": tiff.open_reader,
    "openslide": openslide_.open_reader,
    "fastslide": FastSlideReader,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side-px", type=int, default=3072, help="of the synthetic slide")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(written(Path(folder) / "synthetic.svs", args.side_px), args.rounds)
    for name in REAL:
        if (args.data / name).exists():
            compare(args.data / name, args.rounds)
        else:
            skip("read", f"windows of {Path(name).name}", "the file is not under --data")


def written(path: Path, side_px: int) -> Path:
    """A synthetic slide of two levels in tiles of YCbCr JPEG, as Aperio's scanners write them."""
    made = SyntheticSlide(width_um=side_px * MPP, height_um=side_px * MPP, seed=11)
    fine = made.render(made.frame.box)
    coarse = fine.reshape(side_px // 4, 4, side_px // 4, 4, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    layout = {"tile": (TILE_PX, TILE_PX), "photometric": "ycbcr", "compression": "jpeg", "subsampling": (2, 1)}
    told = f"Aperio Image Library\n{side_px}x{side_px} JPEG/RGB Q=80|AppMag = 20|MPP = {MPP}"
    with tifffile.TiffWriter(path) as file:
        for level in (fine, coarse):
            file.write(level, description=told, metadata=None, compressionargs={"level": 80}, **layout)
    return path


def compare(path: Path, rounds: int) -> None:
    """A line for each back end and resolution, and its ratio against geryon's own choice."""
    with open_slide(path, mpp=MPP) as chosen:
        own = chosen.reader
    usable = dict(openable(path))
    for by in COARSER:
        taken = interleaved({name: partial(read_all, make, path, by) for name, make in usable.items()}, rounds)
        with opened(usable[own], path) as slide:
            mpx = len(list(windows(slide, by))) * WINDOW_PX**2 / 1e6
        first = {name: first_window(make, path, by) for name, make in usable.items()}
        for name, seconds in taken.items():
            tell(path, name, by, (seconds, mpx))
            if name != own:
                question = f"{name} against {own}, pixels a core second"
                size = {"file": path.name, "coarser": by}
                ratio = ratio_of(taken[own], seconds, of="cpu")
                differ = float(np.abs(first[name].astype(np.int16) - first[own]).mean())
                say("read", question, **ratio, unit="ratio", better="higher", size=size, mean_difference=differ)


def tell(path: Path, name: str, by: int, measured: tuple[Seconds, float]) -> None:
    """The line of one back end."""
    seconds, mpx = measured
    say(
        "read",
        f"pixels of {WINDOW_PX} px windows by {name}",
        **seconds.rate(mpx, of="cpu"),
        unit="Mpx/core second",
        better="higher",
        size={"file": path.name, "coarser": by},
        mpx=mpx,
        mpx_a_second=mpx / seconds.median,
    )


def openable(path: Path) -> Iterator[tuple[str, Callable[[Path], Reader]]]:
    """The back ends that can read the file; of the others, a line why not."""
    for name, make in BACK_ENDS.items():
        try:
            read_all(make, path, 1)
        except ImportError:
            skip("read", f"pixels of {WINDOW_PX} px windows by {name}", f"{name} is not installed", file=path.name)
        except InputError as error:
            skip("read", f"pixels of {WINDOW_PX} px windows by {name}", str(error.what), file=path.name)
        else:
            yield name, make


def opened(make: Callable[[Path], Reader], path: Path) -> Slide:
    return slide_of(make(path), name=path.stem, path=path, mpp=MPP, reader="compared")


def read_all(make: Callable[[Path], Reader], path: Path, by: int) -> None:
    """All windows of the slide by one thread, from a file that was just opened: no tile is kept from before."""
    with opened(make, path) as slide:
        for box in windows(slide, by):
            slide.read(box, MPP * by)


def first_window(make: Callable[[Path], Reader], path: Path, by: int) -> np.ndarray:
    """Its pixels, to see that all back ends read the same."""
    with opened(make, path) as slide:
        return slide.read(next(windows(slide, by)), MPP * by)


def windows(slide: Slide, by: int) -> Iterator[Box]:
    """Boxes of WINDOW_PX pixels at `by` times level 0's, row by row, all inside the slide."""
    width, height = slide.size
    reach = WINDOW_PX * by
    for y in range(0, max(1, height - reach + 1), STEP_PX * by):
        for x in range(0, max(1, width - reach + 1), STEP_PX * by):
            yield Box(slide.frame, x, y, x + reach, y + reach)


if __name__ == "__main__":
    main()
