"""Does cutting change the result with the shipped network?

    python -m benchmarks.tiles [--side-px 3000] [--model geryon-s] [--halo 96]

A synthetic image in several tiles and windows. Asked: the same outlines for tiles of 512, 1024 and 2048 px and one tile
for all; for another window shape at most 1 object in 1,000 differs, in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import shapely

from benchmarks.machine import say
from benchmarks.nets import exact
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment_slide
from geryon.nets.model import HALO_PX, STEP_PX, Model
from geryon.slides.array import slide_of_image
from geryon.slides.synthetic import SyntheticSlide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--side-px", type=int, default=3000)
    parser.add_argument("--halo", type=int, default=HALO_PX)
    args = parser.parse_args()
    net = exact(args.model)
    slide = SyntheticSlide(width_um=args.side_px / 2, height_um=args.side_px / 2, seed=3, malignant=0.4)
    image = slide.render(slide.frame.box)
    size = {"side_px": args.side_px, "model": args.model, "halo_px": args.halo}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        one = found(image, net, root / "one", Cutting(window_px=STEP_PX, tile_px=4096, halo_px=args.halo))
        for tile in (512, 1024, 2048):
            other = found(image, net, root / f"tile{tile}", Cutting(window_px=STEP_PX, tile_px=tile, halo_px=args.halo))
            for name in one:
                differ = Counter(one[name]) - Counter(other[name]) | Counter(other[name]) - Counter(one[name])
                say(
                    "tiles",
                    f"{name}: outlines that tiles of {tile} px change",
                    value=differ.total(),
                    unit="objects",
                    asked=0,
                    size=size,
                    objects=len(one[name]),
                )
        other = found(image, net, root / "window", Cutting(window_px=768, halo_px=args.halo))
        for name in one:
            differ = unmatched(one[name], other[name]) + unmatched(other[name], one[name])
            share = 1000.0 * differ / max(1, len(one[name]) + len(other[name]))
            question = f"{name}: objects in 1,000 without a partner of IoU >= 0.5 in windows of another shape"
            say("tiles", question, value=share, unit="per mille", asked=1, size=size, objects=len(one[name]))


def found(image: np.ndarray, net: Model, folder: Path, cutting: Cutting) -> dict[str, list[bytes]]:
    """Geometries (WKB) by task."""
    record = segment_slide(
        slide_of_image(image, mpp=0.5), net, folder, options=Options(cutting=cutting), tell=lambda event: None
    )
    paths = {name: folder / "objects" / f"{name}.parquet" for name in record.object_tasks}
    return {name: pq.read_table(path, columns=["geometry"])["geometry"].to_pylist() for name, path in paths.items()}


def unmatched(these: list[bytes], those: list[bytes]) -> int:
    """How many of these have no partner among those."""
    one, other = shapely.from_wkb(these), shapely.from_wkb(those)
    tree = shapely.STRtree(other)
    a, b = tree.query(one, predicate="intersects")
    shared = shapely.area(shapely.intersection(one[a], other[b]))
    iou = shared / (shapely.area(one[a]) + shapely.area(other[b]) - shared)
    return len(one) - len(np.unique(a[iou >= 0.5]))


if __name__ == "__main__":
    main()
