"""Tiny folders of a lab's own annotations, one maker a format; each returns what a recipe says of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from tests.train.fakes import SIDE, blobs, image, mask

CLASSES = {"Tumor": "epithelial", "Immune": "inflammatory", "Unclassified": None}
TERMS: dict[str, Any] = {"licence": "ours", "use": "open", "group": "(case[0-9]+)_.*"}
NAMES = ("case1_a", "case1_b", "case2_a")


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(name: str | None, kind: str, coordinates: Any, **more: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "detection"}
    if name:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties, **more}


def label_masks(root: Path) -> dict[str, Any]:
    for k, name in enumerate(NAMES):
        image(root / "images" / f"{name}.png", k)
        mask(root / "masks" / f"{name}.png", np.minimum(blobs(), 2))
    classes = {1: "epithelial", 2: "inflammatory"}
    return {"format": "label_masks", "task": "nuclei", "mpp": 0.5, "classes": classes, **TERMS}


def slide(path: Path, seed: int, side: int = 256, mpp: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(90, 255, (side, side, 3)).astype(np.uint8)
    text = f"Aperio Image Library v12.0.0\n{side}x{side} |AppMag = 20|MPP = {mpp}"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64), description=text, metadata=None)


def features() -> list[dict[str, Any]]:
    """A region from (20, 30) to (180, 190) with a ring, a pair of squares, and one cell outside of it."""
    ring = [square(40, 50, 30), square(50, 60, 10)]
    pair = [[square(90, 60, 10)], [square(120, 60, 10)]]
    return [
        feature("Region 1", "Polygon", [square(20, 30, 160)]),
        feature("Tumor", "Polygon", ring),
        feature("Immune", "MultiPolygon", pair),
        feature(None, "Polygon", [square(150.5, 150.5, 8)]),
        feature("Tumor", "Polygon", [square(220, 220, 12)]),
        feature("Tissue", "Polygon", [square(0, 0, 256)]),
        feature("Ignore*", "Polygon", [square(30, 100, 20)]),
        {**feature("Tumor", "LineString", [[0, 0], [9, 9]])},
    ]


def geojson(root: Path) -> dict[str, Any]:
    (root / "annotations").mkdir(parents=True)
    for k, name in enumerate(NAMES):
        slide(root / "images" / f"{name}.tif", k)
        content: Any = features()
        if k == 1:
            content = {"type": "FeatureCollection", "features": content}
        path = root / "annotations" / f"{name}{'.tif' if k == 2 else ''}.geojson"
        path.write_text(json.dumps(content))
    more = {"skip": ["Tissue"], "unknown": ["Ignore*"]}
    return {"format": "geojson", "task": "nuclei", "classes": CLASSES, **more, **TERMS}


def coco(root: Path) -> dict[str, Any]:
    images, annotations = [], []
    for k, name in enumerate(NAMES):
        image(root / "images" / f"{name}.png", k)
        images.append({"id": k, "file_name": f"{name}.png", "width": SIDE, "height": SIDE})
        flat = [[x for point in square(10, 20, 12)[:4] for x in point], [50, 50, 60, 50, 60, 60]]
        annotations.append({"id": 3 * k, "image_id": k, "category_id": 7, "iscrowd": 0, "segmentation": flat})
        runs = {"size": [SIDE, SIDE], "counts": runs_of(blobs() == 3)}
        annotations.append({"id": 3 * k + 1, "image_id": k, "category_id": 8, "iscrowd": 0, "segmentation": runs})
        crowd = {"size": [SIDE, SIDE], "counts": packed(runs_of(blobs() == 2))}
        annotations.append({"id": 3 * k + 2, "image_id": k, "category_id": 7, "iscrowd": 1, "segmentation": crowd})
    categories = [{"id": 7, "name": "Tumor"}, {"id": 8, "name": "Immune"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(content))
    return {"format": "coco", "task": "nuclei", "mpp": 0.5, "classes": CLASSES, **TERMS}


def runs_of(inside: np.ndarray) -> list[int]:
    """COCO's run lengths of a mask, down the columns, first outside."""
    flat = np.concatenate([[False], inside.T.ravel(), [not inside.T.ravel()[-1]]])
    edges = np.flatnonzero(np.diff(flat.astype(int)) != 0)
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    return runs if sum(runs) == inside.size else [*runs, inside.size - sum(runs)]


def packed(runs: list[int]) -> str:
    """The compressed form of run lengths."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if done else bits | 32))
            if done:
                break
    return text


def table(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def points_csv(root: Path) -> dict[str, Any]:
    rows: list[list[Any]] = [["image", "x", "y", "class"]]
    for k, name in enumerate(NAMES):
        image(root / "images" / f"{name}.png", k)
        rows += [[f"{name}.png", 10.5, 20.5, "Tumor"], [f"{name}.png", 60, 30, "Immune"], [f"{name}.png", 40, 70, ""]]
    image(root / "images/case3_a.png", 9)
    rows.append(["case3_a.png", "", "", ""])
    table(root / "points.csv", rows)
    return {"format": "points_csv", "task": "nuclei", "mpp": 0.5, "classes": CLASSES, **TERMS}


def boxes_csv(root: Path) -> dict[str, Any]:
    rows: list[list[Any]] = [["image", "xmin", "ymin", "xmax", "ymax", "class"]]
    for k, name in enumerate(NAMES):
        image(root / "images" / f"{name}.png", k)
        rows += [[name, 5, 10, 25, 20, "Tumor"], [name, 60, 60, 80, 84, "Immune"]]
    table(root / "boxes.csv", rows)
    return {"format": "boxes_csv", "task": "nuclei", "mpp": 0.5, "classes": CLASSES, **TERMS}


def class_folders(root: Path) -> dict[str, Any]:
    for k, (folder, name) in enumerate((f, n) for f in ("TUM", "STR", "mixed") for n in NAMES):
        image(root / folder / f"{name}.png", k)
    classes = {"TUM": "tumour", "STR": "stroma"}
    return {"format": "class_folders", "task": "tissue", "mpp": 0.5, "classes": classes, "skip": ["mixed"], **TERMS}


def unlabelled(root: Path) -> dict[str, Any]:
    for k, name in enumerate(NAMES):
        image(root / "images" / f"{name}.png", k)
    return {"format": "unlabelled", "task": "restored", "mpp": 0.5, **TERMS}


MAKERS = {f.__name__: f for f in (label_masks, geojson, coco, points_csv, boxes_csv, class_folders, unlabelled)}


def damaged_png(path: Path) -> None:
    path.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()[:20])
