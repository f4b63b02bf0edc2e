"""Does cutting change the result with the shipped network? A 3,000 px image, several tiles and windows.

Asked (issue Spine): identical count and outlines for tile 512, 1024, 2048 and one tile for all; for another window
shape at most 1 object in 1,000 differs, in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import shapely

from benchmarks.machine import about, say
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment_slide
from geryon.nets.model import HALO_PX, STEP_PX, Model, load_model
from geryon.slides.array import slide_of_image
from geryon.slides.synthetic import SyntheticSlide

SIDE_PX = 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--halo", type=int, default=HALO_PX)
    args = parser.parse_args()
    net = load_model(args.model, engine="cpu")
    slide = SyntheticSlide(width_um=SIDE_PX / 2, height_um=SIDE_PX / 2, seed=3, malignant=0.4)
    image = slide.render(slide.frame.box)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        one = found(image, net, root / "one", Cutting(window_px=STEP_PX, tile_px=4096, halo_px=args.halo))
        for tile in (512, 1024, 2048):
            other = found(image, net, root / f"tile{tile}", Cutting(window_px=STEP_PX, tile_px=tile, halo_px=args.halo))
            same = {name: sorted(other[name]) == sorted(one[name]) for name in one}
            say(question=f"tile {tile} against one tile", identical=same, objects={n: len(o) for n, o in one.items()})
        other = found(image, net, root / "window", Cutting(window_px=768, halo_px=args.halo))
        for name in one:
            differ = unmatched(one[name], other[name]) + unmatched(other[name], one[name])
            share = 1000.0 * differ / max(1, len(one[name]) + len(other[name]))
            say(
                question=f"{name}: objects in 1,000 without a partner of IoU >= 0.5 in windows of another shape",
                value=round(share, 3),
                asked="<= 1",
                halo_px=args.halo,
                **about(),
            )


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
