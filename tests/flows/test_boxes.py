"""A task whose objects are boxes goes through segment and export like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from geryon.flows.export import export
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment_slide
from geryon.nets.engines.oracle import OracleEngine
from geryon.nets.model import Model
from geryon.nets.weights import ModelDocument, task_document
from geryon.slides.array import slide_of_image
from geryon.slides.synthetic import SyntheticSlide
from geryon.tasks.task import get_task

SLIDE = SyntheticSlide(width_um=500, height_um=500, seed=4, signet=1.0)
NAMES = ("nuclei", "signet_ring")


def oracle() -> Model:
    tasks = tuple(get_task(name) for name in NAMES)
    document = ModelDocument(
        name="oracle", version="1", topology="none", tasks=tuple(task_document(t) for t in tasks), mpp=0.5
    )
    engine = OracleEngine(source=SLIDE, tasks=tasks, model_mpp=0.5)
    return Model(document=document, sha256="0" * 64, tasks=tasks, engine=engine)


def run(folder: Path, tile: int = 512) -> Path:
    slide = slide_of_image(np.full((SLIDE.height_px, SLIDE.width_px, 3), 200, np.uint8), mpp=0.5, name="rings")
    cutting = Cutting(window_px=512, halo_px=32, tile_px=tile)
    segment_slide(slide, oracle(), folder, options=Options(cutting=cutting), tell=lambda event: None)
    return folder


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("boxes") / "rings")


def boxes(folder: Path) -> np.ndarray:
    table = pq.read_table(folder / "objects" / "signet_ring.parquet")
    return np.array([shapely.from_wkb(g).bounds for g in table["geometry"].to_pylist()])


def test_segment_writes_a_box_a_centroid_and_a_score_and_no_class(result: Path) -> None:
    table = pq.read_table(result / "objects" / "signet_ring.parquet")
    assert "class" not in table.column_names and not [c for c in table.column_names if c.startswith("p_")]
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    assert len(shapes) > 10 and all(s.equals(shapely.box(*s.bounds)) for s in shapes)
    centres = np.array([(s.centroid.x, s.centroid.y) for s in shapes])
    assert np.allclose(centres, np.stack([table["x"], table["y"]], axis=1), atol=1e-3)
    assert min(table["score"].to_pylist()) > 200


def test_the_boxes_are_those_of_the_cells_on_the_slide(result: Path) -> None:
    size = (SLIDE.width_px, SLIDE.height_px) * 2
    true = np.array([(*o.min(axis=0), *o.max(axis=0)) for o in SLIDE.objects("signet_ring", SLIDE.frame.box).outlines])
    seen = np.clip(true, 0, size)
    whole = seen[(seen == true).all(axis=1)]
    found = boxes(result)
    away = np.abs(whole[:, None] - found[None]).max(axis=2).min(axis=1)
    assert (away <= 4).mean() > 0.9, "at most 2 µm"
    assert len(whole) <= len(found) <= len(true)


def test_tiles_change_no_box(result: Path, tmp_path: Path) -> None:
    again = run(tmp_path / "rings", tile=320)
    name = "objects/signet_ring.parquet"
    assert (again / name).read_bytes() == (result / name).read_bytes()


def test_boxes_go_to_geojson(result: Path, tmp_path: Path) -> None:
    [path] = export(result, to="geojson", out=tmp_path / "rings.geojson", tasks=["signet_ring"])
    features = json.loads(path.read_text())["features"]
    assert len(features) == len(boxes(result))
    assert all(len(f["geometry"]["coordinates"][0]) == 5 for f in features)
