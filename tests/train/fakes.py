"""Tiny imitations of each source in its real layout, seeded."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

SIDE = 96


def image(path: Path, seed: int = 0, side: int = SIDE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(90, 255, (side, side, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), pixels)


def blobs(side: int = SIDE) -> np.ndarray:
    labels = np.zeros((side, side), np.int32)
    for i, (x, y) in enumerate(((20, 20), (60, 30), (40, 70)), start=1):
        cv2.circle(labels, (x, y), 11, i, -1)
    return labels


def mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values.astype(np.uint8))


def table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


def consep(root: Path) -> None:
    for k in (1, 2):
        image(root / "CoNSeP/Train/Images" / f"train_{k}.png", k)
        path = root / "CoNSeP/Train/Labels" / f"train_{k}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(
            path, {"inst_map": blobs().astype(float), "inst_type": np.array([[1.0], [3.0], [7.0 if k == 2 else 4.0]])}
        )


def tnbc(root: Path) -> None:
    for patient in ("01", "02"):
        image(root / "TNBC_NucleiSegmentation" / f"Slide_{patient}" / f"{patient}_1.png")
        mask(root / "TNBC_NucleiSegmentation" / f"GT_{patient}" / f"{patient}_1.png", (blobs() > 0) * 255)


def monuseg(root: Path) -> None:
    name = "TCGA-XX-0001-01Z-00-DX1"
    image(root / "MoNuSegTrainingData/Tissue_Images" / f"{name}.png")
    corners = "".join(f'<Vertex X="{x}.5" Y="{y}.25"/>' for x, y in ((10, 10), (30, 10), (30, 30), (10, 30)))
    regions = f"<Region><Vertices>{corners}</Vertices></Region><Region><Vertices/></Region>"
    xml = f'<Annotations MicronsPerPixel="0.2520"><Annotation><Regions>{regions}</Regions></Annotation></Annotations>'
    path = root / "MoNuSegTrainingData/Annotations" / f"{name}.xml.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(xml.encode()))


def glas(root: Path) -> None:
    rows = []
    for name, patient, grade in (("train_1", 2, "malignant"), ("testA_1", 5, "benign")):
        image(root / "images" / f"{name}.jpg")
        mask(root / "masks" / f"{name}.png", blobs())
        rows.append({"name": name, "patient ID": patient, "grade (GlaS)": grade})
    table(root / "Grade.csv", rows)


def ebhi_seg(root: Path) -> None:
    rows = []
    for k, stage in enumerate(("Normal", "High-grade IN", "Adenocarcinoma")):
        name = f"GT{k}-1-400-001"
        image(root / "images" / f"{name}.jpg", k)
        mask(root / "masks" / f"{name}.png", (blobs() > 0) * 255)
        rows.append({"image": f"images/{name}.jpg", "mask": f"masks/{name}.png", "class": stage, "case": f"GT{k}"})
    table(root / "images.csv", rows)


def kather_crc(root: Path) -> None:
    rows = []
    for k, (name, mpp) in enumerate((("01_TUMOR", 0.495), ("NORM", ""), ("03_COMPLEX", 0.495), ("08_EMPTY", 0.495))):
        image(root / f"{k}.png", k)
        rows.append({"file": f"{k}.png", "class": name, "um_per_px": mpp, "slide": f"slide_{k}"})
    table(root / "images.csv", rows)


def pcam(root: Path) -> None:
    rows = []
    for k in (0, 1):
        image(root / f"{k}.png", k)
        rows.append({"file": f"{k}.png", "label": k})
    table(root / "images.csv", rows)


def crchistophenotypes(root: Path) -> None:
    folder = root / "CRCHistoPhenotypes_2016_04_28"
    image(folder / "Detection/img1/img1.bmp")
    (folder / "Classification/img1").mkdir(parents=True)
    points = {
        "epithelial": [[10.0, 20.0], [40.0, 50.0]],
        "inflammatory": [[70.0, 70.0]],
        "fibroblast": [],
        "others": [],
    }
    every = [[80.0, 20.0], *points["epithelial"], [72.0, 71.0]]  # one without a class; the last lies a little off
    savemat(folder / "Detection/img1/img1_detection.mat", {"detection": np.array(every)})
    for name, at in points.items():
        savemat(folder / "Classification/img1" / f"img1_{name}.mat", {"detection": np.array(at).reshape(-1, 2)})


def cpm15(root: Path) -> None:
    image(root / "image01.jpg")
    mask(root / "image01_mask.png", blobs())
    table(root / "index.csv", [{"image": "image01"}])


def lc25000_colon(root: Path) -> None:
    rows = []
    for k, (name, group) in enumerate((("colon_aca", "a1"), ("colon_aca", "a1"), ("colon_n", "n4"))):
        image(root / "tiles224" / name / f"{k}.jpeg", k)
        rows.append({"file": f"tiles224/{name}/{k}.jpeg", "class": name, "side": 224, "group": group})
    table(root / "images.csv", rows)


MAKERS = {
    f.__name__: f
    for f in (consep, tnbc, monuseg, glas, ebhi_seg, kather_crc, pcam, crchistophenotypes, cpm15, lc25000_colon)
}
