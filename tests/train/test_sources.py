"""Sources keep their contract, over imitations and over the real files where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geryon.tasks.task import get_task
from geryon.testing.sources import SourceContract
from geryon.train.hollows import hollows
from geryon.train.pack import Asked, sample_of, write_pack
from geryon.train.packed import load_pack
from geryon.train.source import SOURCES, Case, get_source, nothing
from tests.conftest import shared_folder
from tests.train import fakes, release_fakes

LAYOUTS = {name: (name, maker) for name, maker in fakes.MAKERS.items()} | release_fakes.MAKERS
NAMES = sorted({name for name, _ in LAYOUTS.values()})


def test_every_source_is_tested() -> None:
    assert set(SOURCES) == {*NAMES, "synthetic", "synthetic_signet"}


@pytest.mark.parametrize("layout", LAYOUTS)
class TestImitations(SourceContract):
    @pytest.fixture(autouse=True)
    def _made(self, layout: str, tmp_path: Path) -> None:
        if layout == "pcam, release":
            pytest.importorskip("h5py")
        name, maker = LAYOUTS[layout]
        maker(tmp_path)
        self.source, self.root = get_source(name), tmp_path


@pytest.mark.parametrize("name", NAMES)
class TestRealFiles(SourceContract):
    most = 2

    @pytest.fixture(autouse=True)
    def _there(self, name: str) -> None:
        self.source, self.root = get_source(name), shared_folder("data", name)


class TestSynthetic(SourceContract):
    source, root, most = get_source("synthetic"), Path(), 1

    def test_has_cases_with_names_and_groups(self) -> None:
        assert len(self.some()) == 1


class TestSyntheticSignet(TestSynthetic):
    source = get_source("synthetic_signet")

    def test_boxes_are_whole_or_unknown(self) -> None:
        [case] = self.some()
        labels = case.labels["signet_ring"]()
        assert labels.boxes is not None and labels.known is not None and labels.exhaustive
        assert len(labels.boxes) > 3 and labels.boxes.min() >= 0 and labels.boxes.max() <= 640
        middles = ((labels.boxes[:, :2] + labels.boxes[:, 2:]) / 2).astype(int)
        assert labels.known[middles[:, 1], middles[:, 0]].mean() > 0.9


COUNTS = {
    **{"consep": 27, "tnbc": 50, "monuseg": 10, "glas": 145, "ebhi_seg": 553, "crchistophenotypes": 80, "cpm15": 15},
    **{"kather_crc": 188, "pcam": 10, "lc25000_colon": 336, "digestpath_signet": 3},
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_the_real_sets(name: str) -> None:
    root = shared_folder("data", name)
    assert sum(1 for _ in get_source(name).cases(root)) == COUNTS[name]


def test_consep_has_the_nuclei_that_its_table_counts() -> None:
    root = shared_folder("data", "consep")
    first = next(iter(get_source("consep").cases(root))).labels["nuclei"]()
    assert first.objects is not None and int(first.objects.max()) == 850
    names = list((first.classes or {}).values())
    assert [names.count(c) for c in ("other", "inflammatory", "epithelial", "connective")] == [9, 95, 287, 459]


def test_nuclei_without_a_class_are_nuclei(tmp_path: Path) -> None:
    fakes.crchistophenotypes(tmp_path)
    [case] = get_source("crchistophenotypes").cases(tmp_path)
    labelled = case.labels["nuclei"]()
    assert labelled.points is not None and labelled.points[0].tolist() == [79.5, 19.5]
    assert labelled.point_classes == ("", "epithelial", "epithelial", "inflammatory")


def test_crchistophenotypes_has_all_its_nuclei_and_their_classes() -> None:
    root = shared_folder("data", "crchistophenotypes")
    found = [case.labels["nuclei"]() for case in get_source("crchistophenotypes").cases(root)]
    n = sum(len(each.points) for each in found if each.points is not None)
    assert n == 23254 + 1, "what its table counts, and a point of a class with no nucleus left for it"
    names = [name for each in found for name in each.point_classes if name]
    counts = [names.count(name) for name in ("epithelial", "inflammatory", "connective", "other")]
    assert counts == [6229, 5199, 4536, 1837]


def test_glas_patients_stand_in_both_official_splits() -> None:
    cases = list(get_source("glas").cases(shared_folder("data", "glas")))
    groups = {part: {c.group for c in cases if c.name.startswith(part)} for part in ("train", "testA")}
    assert groups["train"] & groups["testA"] == {"3", "4", "7", "9", "10", "11", "13", "15"}


def test_seven_and_four_classes_of_consep(tmp_path: Path) -> None:
    fakes.consep(tmp_path)
    merged, whole = (case.labels["nuclei"]().classes for case in get_source("consep").cases(tmp_path))
    assert merged == {1: "other", 2: "epithelial", 3: "connective"}
    assert whole == {1: "other", 2: "epithelial", 3: "connective"}


def test_a_pack_gives_back_what_was_packed(tmp_path: Path) -> None:
    fakes.tnbc(tmp_path)
    source = get_source("tnbc")
    from geryon.tasks.task import get_task

    tasks = [get_task("nuclei")]
    path = write_pack(tmp_path / "a.pack", [Asked(source, tmp_path)], tasks)
    [first, second] = load_pack(path)
    fresh = sample_of(next(iter(source.cases(tmp_path))), "tnbc", tasks)
    assert (first.name, first.group, second.group) == ("01_1", "01", "02")
    assert np.array_equal(first.image, fresh.image)
    assert all(np.array_equal(first.targets[k], v) for k, v in fresh.targets.items())
    again = write_pack(tmp_path / "b.pack", [Asked(source, tmp_path)], tasks)
    assert again.read_bytes() == path.read_bytes()


def test_what_is_nowhere_teaches_that_there_is_nothing() -> None:
    blank = np.zeros((320, 320), bool)
    blank[:, :160] = True
    image = np.full((320, 320, 3), 240, np.uint8)
    case = Case(name="a", group="a", image=lambda: image, mpp=0.5, labels={}, hints={"lumina": lambda: nothing(blank)})
    sample = sample_of(case, "x", [get_task("lumina"), get_task("glands")])
    assert set(sample.targets) == {"lumina/inside", "lumina/rim"}
    for name, target in sample.targets.items():
        assert not target.any()
        assert sample.weights[name][:, :40].all() and not sample.weights[name][:, 40:].any()


def test_glass_is_no_lumen_and_neither_is_what_lies_outside_of_a_gland(tmp_path: Path) -> None:
    for name in ("kather_crc", "glas", "ebhi_seg"):
        fakes.MAKERS[name](tmp_path / name)
        cases = list(get_source(name).cases(tmp_path / name))
        assert any("lumina" in case.hints for case in cases), name
    for case in cases:
        labels = case.labels["glands"]()
        assert labels.foreground is not None
        hint = case.hints["lumina"]()
        assert hint.objects is not None and hint.known is not None
        assert hint.known[~labels.foreground].all() and not hint.objects[~labels.foreground].any()


def test_benign_glands_hold_no_signet_ring_cell_and_of_malignant_ones_nothing_is_said(tmp_path: Path) -> None:
    fakes.glas(tmp_path)
    grades = {}
    for case in get_source("glas").cases(tmp_path):
        grades[case.stratum] = "signet_ring" in case.hints
        assert not case.hints.get("signet_ring", lambda: nothing(np.ones((1, 1), bool)))().objects.any()
    assert grades == {"benign": True, "malignant": False}


def test_a_wide_clear_hollow_of_a_gland_is_a_lumen_and_a_goblet_cell_is_unknown() -> None:
    image = np.full((300, 300, 3), (150, 90, 150), np.uint8)  # epithelium and stroma
    image[:40] = 245  # glass
    glands = np.zeros((300, 300), bool)
    glands[60:260, 60:260] = True
    image[120:180, 120:180] = 243  # 30 µm wide
    image[80:96, 80:96] = 243  # 8 µm wide
    hint = hollows(image, glands, 0.5)
    assert hint.objects is not None and hint.known is not None
    assert hint.objects[150, 150] == 1 and hint.objects.max() == 1
    assert not hint.known[88, 88] and hint.known[230, 230] and not hint.objects[230, 230]
    assert not hint.objects[:40].any() and hint.known[:40].all()


def test_a_missing_release_is_told(tmp_path: Path) -> None:
    from geryon.errors import InputError

    with pytest.raises(InputError, match=r"GT_\* is not there"):
        next(iter(get_source("tnbc").cases(tmp_path)))
