"""What readers make of the details of public releases; the contract itself is in test_sources.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geryon.errors import InputError
from geryon.tasks.task import Labelled
from geryon.train.pack import _at_task
from geryon.train.source import Case, get_source
from geryon.train.sources.cpm15 import TWENTY
from geryon.train.sources.cpm17 import mpp_by_nuclei
from tests.conftest import shared_folder
from tests.train import release_fakes as fakes
from tests.train.fakes import blobs


def made(name: str, root: Path) -> list[Case]:
    getattr(fakes, name)(root)
    return list(get_source(name).cases(root))


def nuclei(case: Case) -> Labelled:
    return case.labels["nuclei"]()


def test_classes_of_lizard_go_by_id_and_its_split_stands_before_the_group(tmp_path: Path) -> None:
    first, second = made("lizard", tmp_path)
    assert nuclei(first).classes == {3: "eosinophil", 7: "epithelial", 1: "connective"}
    assert (first.name, first.group, second.group) == ("consep_1", "split1/consep_1", "split2/glas_3")


def test_a_class_that_lizard_does_not_have_is_refused(tmp_path: Path) -> None:
    [first, _] = made("lizard", tmp_path)
    path = tmp_path / "Lizard_Labels/Labels/consep_1.mat"
    fakes.mat(path, inst_map=blobs(), id=np.array([[1]]), **{"class": np.array([[9]])})
    with pytest.raises(InputError, match="class 9 is none of 1 to 6"):
        nuclei(first)


def test_squares_of_conic_are_grouped_by_the_image_they_were_cut_from(tmp_path: Path) -> None:
    cases = made("conic", tmp_path)
    assert [(c.name, c.group) for c in cases][1:] == [("consep_1-0001", "consep_1"), ("glas_2-0000", "glas_2")]
    assert nuclei(cases[0]).classes == {1: "neutrophil", 2: "plasma", 3: "eosinophil"}
    assert nuclei(cases[2]).classes == {}
    np.save(tmp_path / "labels.npy", np.load(tmp_path / "labels.npy")[:2])
    with pytest.raises(InputError, match="3 images, 2 labels and 3 rows"):
        list(get_source("conic").cases(tmp_path))


def test_layers_of_pannuke_become_objects_and_a_melanoma_no_epithelium(tmp_path: Path) -> None:
    colon, skin, *others = made("pannuke", tmp_path)
    assert np.array_equal(np.asarray(nuclei(colon).objects) > 0, blobs() > 0)
    assert nuclei(colon).classes == {1: "epithelial", 2: "inflammatory", 3: "other"}
    assert nuclei(skin).classes == {2: "inflammatory", 3: "other"}
    assert colon.image().dtype == np.uint8 and {c.group for c in others} == {"fold2"}


def test_the_size_of_nuclei_tells_the_objective_of_cpm17(tmp_path: Path) -> None:
    assert {c.name: c.mpp for c in made("cpm17", tmp_path)} == {"train/image_00": 0.25, "test/image_00": 0.5}
    assert mpp_by_nuclei(np.zeros((9, 9), np.int32)) == 0.25


def test_the_size_of_nuclei_is_right_about_all_of_cpm15() -> None:
    cases = list(get_source("cpm15").cases(shared_folder("data", "cpm15")))
    assert {c.name for c in cases} > TWENTY
    assert [mpp_by_nuclei(np.asarray(nuclei(c).objects)) for c in cases] == [c.mpp for c in cases]


def test_vague_areas_of_nuinsseg_are_unknown_in_both_spellings(tmp_path: Path) -> None:
    for case in made("nuinsseg", tmp_path):
        known = nuclei(case).known
        assert known is not None and not known[80:, 80:].any() and known[:80].all()


def test_nucls_knows_nothing_in_boxes_nor_outside_its_field(tmp_path: Path) -> None:
    [case] = made("nucls", tmp_path)
    labels = nuclei(case)
    assert case.group == "TCGA-A1-A0SP"
    assert labels.classes == {2: "lymphocyte"}, "a macrophage has no class of ours, a box is no object"
    assert labels.known is not None and labels.objects is not None
    assert not labels.known[20:31, 20:41].any() and not labels.known[:10].any() and labels.known[60, 30]
    assert set(np.unique(labels.objects)) == {0, 2, 3}


def test_boxes_of_a_positive_image_are_not_all_and_a_negative_one_has_none(tmp_path: Path) -> None:
    positive, negative = made("digestpath_signet", tmp_path)
    assert (positive.group, negative.group) == ("2018_64982_1-3", "D20190112103")
    found, none = (case.labels["signet_ring"]() for case in (positive, negative))
    assert found.boxes is not None and found.boxes.tolist() == [[9, 8, 40, 50]] and not found.exhaustive
    assert none.boxes is not None and none.boxes.shape == (0, 4) and none.exhaustive


def test_the_boxes_of_the_real_signet_ring_cells() -> None:
    cases = list(get_source("digestpath_signet").cases(shared_folder("data", "digestpath_signet")))
    labels = [case.labels["signet_ring"]() for case in cases]
    assert [len(np.asarray(each.boxes)) for each in labels] == [64, 50, 0]
    sides = np.concatenate([np.asarray(each.boxes)[:, 2:] - np.asarray(each.boxes)[:, :2] for each in labels])
    assert 15 < np.median(sides) * cases[0].mpp < 30, "signet ring cells, in µm"


def test_boxes_go_to_the_grid_of_a_task() -> None:
    labels = Labelled(boxes=np.array([[10.0, 20.0, 30.0, 60.0]]), exhaustive=False, known=np.ones((80, 80), bool))
    moved = _at_task(labels, 0.5, (40, 40), (320, 320), 2)
    assert np.asarray(moved.boxes).tolist() == [[2.5, 5.0, 7.5, 15.0]] and not moved.exhaustive


def test_copies_of_one_picture_are_one_group_and_without_groups_nothing_is_read(tmp_path: Path) -> None:
    cases = made("lc25000_colon", tmp_path)
    assert [c.group for c in cases[:3]] == ["colon_aca_3", "colon_aca_7", "colon_aca_7"]
    (tmp_path / "lc25000_image_groups.csv").unlink()
    with pytest.raises(InputError, match="copies of one picture would stand on both sides"):
        list(get_source("lc25000_colon").cases(tmp_path))


def test_glas_is_read_from_its_flat_folder_with_the_line_ends_of_an_old_mac(tmp_path: Path) -> None:
    cases = made("glas", tmp_path)
    assert [(c.name, c.group) for c in cases] == [("train_1", "2"), ("testA_1", "2"), ("testB_1", "5")]
    labels = cases[0].labels["glands"]()
    assert np.array_equal(np.asarray(labels.objects), blobs()) and set((labels.classes or {}).values()) == {"malignant"}


def test_monuseg_reads_training_and_test_data(tmp_path: Path) -> None:
    cases = {c.name: c for c in made("monuseg", tmp_path)}
    assert {n: (c.group, c.mpp) for n, c in cases.items()} == {
        "TCGA-A7-A13E-01Z-00-DX1": ("TCGA-A7-A13E", 0.2456),
        "TCGA-2Z-A9J9-01A-01-TS1": ("TCGA-2Z-A9J9", 0.25),
    }


def test_tiles_of_kather_are_grouped_by_slide_and_by_tile_over_both_colours(tmp_path: Path) -> None:
    cases = made("kather_crc", tmp_path)
    groups = [(c.name.split("/")[0], c.group, c.mpp) for c in cases]
    assert groups == [
        ("Kather_texture_2016_image_tiles_5000", "slide_07", 0.495),
        ("NCT-CRC-HE-100K", "ADI-AAQEFMRI", 0.5),
        ("NCT-CRC-HE-100K-NONORM", "ADI-AAQEFMRI", 0.5),
        ("CRC-VAL-HE-7K", "NORM-TCGA-YLVCMEHK", 0.5),
    ]
    alone = list(get_source("kather_crc").cases(tmp_path / "NCT-CRC-HE-100K"))
    assert [c.name for c in alone] == [cases[1].name]


def test_patches_of_pcam_are_grouped_by_slide(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    cases = made("pcam", tmp_path)
    assert [c.group for c in cases] == ["slide_0", "slide_0", "slide_1"]
    rasters = [np.asarray(c.labels["tissue"]().raster) for c in cases]
    assert [int(r.sum()) for r in rasters] == [0, 32 * 32, 32 * 32]


def test_the_soft_edges_of_ebhi_seg_are_cut_in_the_middle(tmp_path: Path) -> None:
    _, first = made("ebhi_seg", tmp_path)
    assert (first.name, first.group) == ("GT2000000-1-400-001-normal", "GT2000000")
    foreground = np.asarray(first.labels["glands"]().foreground)
    assert abs(foreground.sum() / (blobs() > 0).sum() - 1) < 0.05


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("crag", "CRAG/train/Annotation/train_2.png"),
        ("lizard", "Lizard_Images2/glas_3.png"),
        ("kumar", "kumar/train/Images/TCGA-A7-A13E-01Z-00-DX1.tif"),
        ("nuinsseg", "human bladder/label masks modify/human_bladder_01.tif"),
    ],
)
def test_an_image_without_its_mask_is_named(name: str, lost: str, tmp_path: Path) -> None:
    made(name, tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(InputError, match=f"no picture is called {Path(lost).stem}"):
        list(get_source(name).cases(tmp_path))


@pytest.mark.parametrize("name", sorted({source for source, _ in fakes.MAKERS.values()} - {"pcam"}))
def test_an_empty_folder_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not there|there is no|is there"):
        list(get_source(name).cases(tmp_path))
