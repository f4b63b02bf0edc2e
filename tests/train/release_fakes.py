"""Tiny imitations of public releases in their own layouts, seeded: {layout: (source, maker)}.

Sources whose copy at hand has another layout than the release have one imitation of each (the copies': fakes.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from tests.train.fakes import SIDE, blobs, image, mask, table


def mat(path: Path, **content: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def array(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def pixels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(90, 255, (n, SIDE, SIDE, 3)).astype(np.uint8)


def crag(root: Path) -> None:
    for part, name in (("train", "train_2"), ("train", "train_10"), ("valid", "test_1")):
        image(root / "CRAG" / part / "Images" / f"{name}.png")
        mask(root / "CRAG" / part / "Annotation" / f"{name}.png", blobs())
    mask(root / "CRAG/valid/Annotation/test_41.png", blobs())  # without an image, as in version 1


def lizard(root: Path) -> None:
    rows: list[dict[str, object]] = []
    for k, (folder, name) in enumerate(
        (("lizard_images1/Lizard_Images1", "consep_1"), ("Lizard_Images2", "glas_3")), 1
    ):
        image(root / folder / f"{name}.png", k)
        objects = blobs()
        objects[objects == 2] = 7
        mat(
            root / "Lizard_Labels/Labels" / f"{name}.mat",
            inst_map=objects,
            id=np.array([[3], [7], [1]]),
            **{"class": np.array([[5], [2], [6]])},
            bbox=np.zeros((3, 4)),
            centroid=np.zeros((3, 2)),
        )
        rows.append({"Filename": name, "Source": name.split("_")[0], "Split": k})
    table(root / "Lizard_Labels/info.csv", rows)


def conic(root: Path) -> None:
    objects = blobs()
    labels = np.stack([objects, np.array([0, 1, 4, 5])[objects]], axis=2).astype(np.uint16)
    array(root / "images.npy", pixels(3))
    array(root / "labels.npy", np.stack([labels, labels, np.zeros_like(labels)]))
    table(root / "patch_info.csv", [{"patch_info": name} for name in ("consep_1-0000", "consep_1-0001", "glas_2-0000")])
    table(root / "counts.csv", [{"neutrophil": 1, "epithelial": 0} for _ in range(3)])


def pannuke(root: Path) -> None:
    layers = np.zeros((SIDE, SIDE, 6))
    for layer, number in ((0, 1), (1, 2), (3, 3)):
        layers[..., layer] = np.where(blobs() == number, 1, 0)  # every layer counts from 1
    layers[..., 5] = blobs() == 0
    for fold in (1, 2):
        home = root / f"Fold {fold}"
        array(home / f"images/fold{fold}/images.npy", pixels(2, fold).astype(float))
        array(home / f"images/fold{fold}/types.npy", np.array(["Colon", "Skin"]))
        array(home / f"masks/fold{fold}/masks.npy", np.stack([layers, layers]))


def kumar(root: Path) -> None:
    for part, name in (("train", "TCGA-A7-A13E-01Z-00-DX1"), ("test_diff", "TCGA-DK-A2I6-01A-01-TS1")):
        image(root / "kumar" / part / "Images" / f"{name}.tif")
        mat(root / "kumar" / part / "Labels" / f"{name}.mat", inst_map=blobs().astype(float))


def cpm17(root: Path) -> None:
    for part, side in (("train", SIDE), ("test", SIDE // 2)):
        image(root / "cpm17" / part / "Images/image_00.png", side=side)
        small = cv2.resize(blobs().astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST)
        mat(root / "cpm17" / part / "Labels/image_00.mat", inst_map=small.astype(np.int32))


def nuinsseg(root: Path) -> None:
    for organ, vague in (("human bladder", "mask binary"), ("mouse lung", "mask binary_vague")):
        name = organ.replace(" ", "_") + "_01"
        image(root / organ / "tissue images" / f"{name}.png")
        (root / organ / "label masks modify").mkdir()
        cv2.imwrite(str(root / organ / "label masks modify" / f"{name}.tif"), blobs().astype(np.uint16))
        unsure = np.zeros((SIDE, SIDE))
        unsure[80:, 80:] = 255
        mask(root / organ / "vague areas" / vague / f"{name}.png", unsure)


def nucls(root: Path) -> None:
    name = "TCGA-A1-A0SP-DX1_id-5ea4_left-7053_top-53967_bottom-54231_right-7311"
    image(root / "rgb" / f"{name}.png")
    field = np.zeros((SIDE, SIDE, 3), np.uint8)
    field[10:90, 10:90, 2] = 253  # the first channel is red
    (root / "mask").mkdir()
    cv2.imwrite(str(root / "mask" / f"{name}.png"), field)
    text(
        root / "csv" / f"{name}.csv",
        ",raw_classification,main_classification,super_classification,type,xmin,ymin,xmax,ymax,coords_x,coords_y",
        '0,fibroblast,nonTILnonMQ_stromal,nonTIL_stromal,rectangle,20,20,40,30,"20,40,40,20,20","20,20,30,30,20"',
        '1,lymphocyte,lymphocyte,sTIL,polyline,50,50,60,60,"50,60,60,50,50","50,50,60,60,50"',
        '2,macrophage,macrophage,nonTIL_stromal,polyline,70,70,80,80,"70,80,80,70","70,70,80,80"',
    )
    text(root / "csv/ALL_FOV_LOCATIONS.csv", ",fovname,xmin,ymin,xmax,ymax", f"0,{name},10,10,90,90")


def digestpath_signet(root: Path) -> None:
    home = root / "Signet_ring_cell_dataset"
    name = "2018_64982_1-3_2019-02-25 21_57_36-lv0-33516-59515-2003-2010"
    image(home / "sig-train-pos" / f"{name}.jpeg")
    corners = "<xmin>9</xmin><ymin>8</ymin><xmax>40</xmax><ymax>50</ymax>"
    box = f"<object><name>ring_cell_cancer</name><bndbox>{corners}</bndbox></object>"
    text(home / "sig-train-pos" / f"{name}.xml", f"<annotation>{box}</annotation>")
    image(home / "sig-train-neg/D20190112103_2019-06-10_16_28_08-lv0-29630-6271-2000-2000.jpeg")


def lc25000_colon(root: Path) -> None:
    home = root / "lung_colon_image_set/colon_image_sets"
    rows: list[dict[str, object]] = []
    for name, stem in (("colon_aca", "colonca"), ("colon_n", "colonn")):
        for k in (2, 10, 11):
            image(home / name / f"{stem}{k}.jpeg", k)
            rows.append({"stem": f"{stem}{k}", "label": name, "group_id": 7 if k > 2 else 3})
    table(root / "lc25000_image_groups.csv", rows)


def glas(root: Path) -> None:
    home = root / "Warwick QU Dataset (Released 2016_07_08)"
    lines = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
    for name, patient, grade in (("train_1", 2, "malignant"), ("testA_1", 2, "benign"), ("testB_1", 5, "benign")):
        image(home / f"{name}.bmp")
        mask(home / f"{name}_anno.bmp", blobs())
        lines.append(f"{name},{patient}, {grade}, healthy")
    (home / "Grade.csv").write_bytes("\r".join(lines).encode())


def monuseg(root: Path) -> None:
    corners = "".join(f'<Vertex X="{x}.5" Y="{y}.25"/>' for x, y in ((10, 10), (30, 10), (30, 30), (10, 30)))
    region = f"<Region><Vertices>{corners}</Vertices></Region>"
    xml = f"<Annotations{{}}><Annotation><Regions>{region}</Regions></Annotation></Annotations>"
    training = root / "MoNuSeg 2018 Training Data"
    image(training / "Tissue Images/TCGA-A7-A13E-01Z-00-DX1.tif")
    text(training / "Annotations/TCGA-A7-A13E-01Z-00-DX1.xml", xml.format(' MicronsPerPixel="0.2456"'))
    image(root / "MoNuSegTestData/TCGA-2Z-A9J9-01A-01-TS1.tif")
    text(root / "MoNuSegTestData/TCGA-2Z-A9J9-01A-01-TS1.xml", xml.format(""))


def ebhi_seg(root: Path) -> None:
    soft = cv2.blur((blobs() > 0).astype(np.uint8) * 255, (5, 5))
    for stage, name in (("Normal", "GT2000000-1-400-001"), ("High-grade IN", "GT2012221-2-400-003")):
        image(root / "EBHI-SEG" / stage / "image" / f"{name}.png")
        mask(root / "EBHI-SEG" / stage / "label" / f"{name}.png", soft)
    image(root / "EBHI-SEG/Normal/image/GT2012221-2-400-009.png")  # two images of the release have no mask


def kather_crc(root: Path) -> None:
    tiles = (
        "Kather_texture_2016_image_tiles_5000/01_TUMOR/1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151.tif",
        "Kather_texture_2016_image_tiles_5000/03_COMPLEX/1B_CRC-Prim-HE-07_022.tif_Row_1_Col_151.tif",
        "NCT-CRC-HE-100K/ADI/ADI-AAQEFMRI.tif",
        "NCT-CRC-HE-100K-NONORM/ADI/ADI-AAQEFMRI.tif",
        "CRC-VAL-HE-7K/NORM/NORM-TCGA-YLVCMEHK.tif",
    )
    for k, tile in enumerate(tiles):
        image(root / tile, k)


def cpm15(root: Path) -> None:
    for name in ("image01", "image10"):
        image(root / f"{name}.png")
        text(root / f"{name}_mask.txt", f"{SIDE} {SIDE}", *map(str, blobs().ravel()))
        image(root / f"{name}_poly.png")


def pcam(root: Path) -> None:
    import h5py

    stem = "camelyonpatch_level_2_split_valid"
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / f"{stem}_x.h5", "w") as file:
        file["x"] = pixels(3)
    with h5py.File(root / f"{stem}_y.h5", "w") as file:
        file["y"] = np.array([0, 1, 1], np.uint8).reshape(3, 1, 1, 1)
    table(root / f"{stem}_meta.csv", [{"": k, "tumor_patch": True, "wsi": f"slide_{k // 2}"} for k in range(3)])


NEW = (crag, lizard, conic, pannuke, kumar, cpm17, nuinsseg, nucls, digestpath_signet)
OTHER_LAYOUTS = (glas, monuseg, ebhi_seg, kather_crc, cpm15, pcam, lc25000_colon)
MAKERS: dict[str, tuple[str, Callable[[Path], None]]] = {f.__name__: (f.__name__, f) for f in NEW} | {
    f"{f.__name__}, release": (f.__name__, f) for f in OTHER_LAYOUTS
}
