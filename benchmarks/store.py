"""How many nuclei a second are written and read again on one core, and how many bytes does each take?

    python -m benchmarks.store [--nuclei 50000] [--level 1] [--grid 0.25] [--corner 25000] [--rounds 3]

Random smooth nuclei of about 14 px across, 18 to 24 points on a lattice of --grid px, in the density of
lymphoid tissue, Hilbert order, four class columns, a gland for each third one.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import interleaved, say
from geryon.space.boxes import Frame
from geryon.space.objects import Objects, Outlines, offsets
from geryon.store.tables import LEVEL, TableWriter, hilbert, objects_table
from geryon.store.wkb import outlines_from_wkb, wkb_from_outlines

CORNER = 25_000
"""x and y where the tissue begins: doubles near the slide's origin compress worse than in its middle."""
CLASSES = ("connective", "epithelial", "inflammatory", "other")


def nuclei(n: int, grid: float, corner: int = CORNER, seed: int = 0) -> Objects:
    """n smooth blobs in level0 in a square of tissue, 40 px apart on average, in Hilbert order."""
    rng = np.random.default_rng(seed)
    side = 40.0 * np.sqrt(n) + 100
    centre = rng.uniform(50, side - 50, (n, 2)) + corner
    centre = centre[np.argsort(hilbert(centre[:, 0].astype(int), centre[:, 1].astype(int), 20), kind="stable")]
    count = rng.integers(18, 25, n)
    at, of = offsets(count), np.repeat(np.arange(n), count)
    turn = 2 * np.pi * (np.arange(at[-1]) - at[of]) / count[of]
    radius = np.clip(rng.normal(7, 1.2, n), 4, 11)[of]
    for waves, height in ((2, 0.08), (3, 0.05)):
        radius = radius * (1 + height * np.cos(waves * turn + rng.uniform(0, 2 * np.pi, n)[of]))
    x, y = radius * np.cos(turn), radius * rng.uniform(0.7, 1, n)[of] * np.sin(turn)
    slant = rng.uniform(0, np.pi, n)[of]
    points = centre[of] + np.stack([x * np.cos(slant) - y * np.sin(slant), x * np.sin(slant) + y * np.cos(slant)], 1)
    outlines = Outlines(points=np.round(points / grid) * grid, ring_at=at, object_at=np.arange(n + 1))
    return Objects(
        frame=Frame(name="level0", mpp_x=0.5, mpp_y=0.5, width=side + corner, height=side + corner),
        xy=np.add.reduceat(points, at[:-1]) / count[:, None],
        outlines=outlines,
        area=_areas(outlines),
        score=np.clip(rng.normal(225, 18, n), 0, 255).astype(np.uint8),
        p=np.round(rng.dirichlet([0.3] * len(CLASSES), n) * 255).astype(np.uint8),
    )


def _areas(outlines: Outlines) -> np.ndarray:
    after = np.arange(1, len(outlines.points) + 1)
    after[outlines.ring_at[1:] - 1] = outlines.ring_at[:-1]
    x, y = outlines.points.T
    return np.add.reduceat(x * y[after] - x[after] * y, outlines.ring_at[:-1]) / 2.0


def table_of(objects: Objects) -> pa.Table:
    """As a run makes it."""
    n = len(objects)
    holder = np.where(np.arange(n) // 500 % 3 == 0, (1 << 56) + np.arange(n) // 1500, 0).astype(np.uint64)
    ids = np.arange(n, dtype=np.uint64) + np.uint64(2 << 56)
    return objects_table(
        objects, ids=ids, class_names=CLASSES, area_um2=objects.area / 4, holder=holder, holder_name="gland"
    )


def write(table: pa.Table, path: Path, level: int) -> None:
    with TableWriter(path, table.schema, level=level) as writer:
        writer.write(table)


def bytes_by_column(path: Path) -> dict[str, float]:
    """Bytes a row of each column."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    return {
        groups[0].column(c).path_in_schema: sum(g.column(c).total_compressed_size for g in groups) / metadata.num_rows
        for c in range(metadata.num_columns)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nuclei", type=int, default=50_000)
    parser.add_argument("--level", type=int, default=LEVEL, help="of zstd")
    parser.add_argument("--grid", type=float, default=0.25)
    parser.add_argument("--corner", type=int, default=CORNER)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    objects = nuclei(args.nuclei, args.grid, args.corner)
    table = table_of(objects)
    size = {"nuclei": args.nuclei, "zstd_level": args.level, "grid_px": args.grid, "corner_px": args.corner}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nuclei.parquet"
        calls = {
            "outlines to WKB": partial(wkb_from_outlines, objects.outlines),
            "objects to table, WKB included": partial(table_of, objects),
            "table to file": partial(write, table, path, args.level),
            "file to table": partial(pq.read_table, path),
            "WKB to outlines": partial(outlines_from_wkb, table["geometry"]),
        }
        calls |= {"objects to file": lambda: write(table_of(objects), path, args.level)}
        for name, taken in interleaved(calls, args.rounds).items():
            timed = taken.rate(args.nuclei, of="cpu")
            say("store", name, **timed, unit="nuclei/core second", better="higher", size=size)
        say(
            "store",
            "bytes a nucleus on disk, every column",
            value=path.stat().st_size / args.nuclei,
            unit="bytes",
            size=size,
            points_a_nucleus=len(objects.outlines.points) / args.nuclei,
            bytes_by_column=bytes_by_column(path),
        )


if __name__ == "__main__":
    main()
