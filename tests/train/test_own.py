"""A lab's own annotations: every format keeps the contract of sources, and gives the pixels that were drawn."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from geryon.errors import InputError
from geryon.tasks.task import get_task
from geryon.testing.sources import SourceContract
from geryon.train import own
from geryon.train.fit import not_packed
from geryon.train.own import FORMATS, OwnChoice, source_of
from geryon.train.pack import Asked, sample_of, write_pack
from geryon.train.packed import load_pack
from geryon.train.recipe import Recipe
from tests.train import own_fakes
from tests.train.fakes import SIDE, blobs, image, mask


def made(maker: str, root: Path, **change: Any) -> OwnChoice:
    return OwnChoice(name="mylab", **{**own_fakes.MAKERS[maker](root), **change})


def looked(choice: OwnChoice, root: Path) -> own.Looked:
    return own.look(choice, root, mpp=0.5)


def faults(choice: OwnChoice, root: Path) -> list[str]:
    from geryon.train.faults import told

    return told(looked(choice, root).faults)


def first(choice: OwnChoice, root: Path) -> Any:
    return next(iter(source_of(choice, mpp=0.5).cases(root)))


def test_every_format_is_tested() -> None:
    assert set(FORMATS) == set(own_fakes.MAKERS)


@pytest.mark.parametrize("name", own_fakes.MAKERS)
class TestFormats(SourceContract):
    @pytest.fixture(autouse=True)
    def _made(self, name: str, tmp_path: Path) -> None:
        self.source, self.root = source_of(made(name, tmp_path), mpp=0.5), tmp_path

    def stated_mpp(self) -> list[float]:
        return [0.5]

    def test_groups_are_those_of_the_pattern_and_strata_those_of_the_labels(self) -> None:
        cases = list(self.source.cases(self.root))
        assert {case.group for case in cases} - {"case3"} == {"case1", "case2"}
        strata = {case.stratum for case in cases if case.group != "case3"}
        assert strata and strata <= {"epithelial", "inflammatory", "tumour", "stroma", ""}

    def test_a_pack_holds_them(self) -> None:
        tasks = [get_task(name) for name in self.source.tasks]
        path = write_pack(self.root / "a.pack", [Asked(self.source, self.root)], tasks)
        samples = list(load_pack(path))
        assert samples and {s.source for s in samples} == {"mylab"}
        assert [s.stratum for s in samples] == [c.stratum for c in self.source.cases(self.root)]


def test_an_image_comes_as_it_is(tmp_path: Path) -> None:
    case = first(made("label_masks", tmp_path), tmp_path)
    pixels = cv2.imread(str(tmp_path / "images/case1_a.png"))[..., ::-1]
    assert case.mpp == 0.5 and np.array_equal(case.image(), pixels)


def test_class_masks_give_pieces_numbered_masks_give_objects(tmp_path: Path) -> None:
    pieces = first(made("label_masks", tmp_path), tmp_path).labels["nuclei"]()
    assert np.array_equal(pieces.objects > 0, blobs() > 0)
    assert sorted(pieces.classes.values()) == ["epithelial", "inflammatory", "inflammatory"]
    for name in own_fakes.NAMES:
        mask(tmp_path / "kinds" / f"{name}.png", np.minimum(blobs(), 2))
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), (blobs() * 9000).astype(np.uint16))
    choice = replace(made("label_masks", tmp_path), class_labels="kinds")
    for name in own_fakes.NAMES:  # the maker wrote masks of classes again
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), (blobs() * 9000).astype(np.uint16))
    both = first(choice, tmp_path).labels["nuclei"]()
    assert np.array_equal(both.objects, blobs())
    assert both.classes == {1: "epithelial", 2: "inflammatory", 3: "inflammatory"}
    alone = first(replace(choice, class_labels="", classes={}), tmp_path).labels["nuclei"]()
    assert np.array_equal(alone.objects, blobs()) and alone.classes is None


def test_masks_of_area_void_and_raster(tmp_path: Path) -> None:
    choice = made("label_masks", tmp_path)
    for name in own_fakes.NAMES:
        values = (blobs() > 0).astype(np.uint8)
        values[:, 80:] = 255
        mask(tmp_path / "masks" / f"{name}.png", values)
    area = replace(choice, task="glands", classes={1: "benign"}, objects="area", unknown=(255,))
    labels = first(area, tmp_path).labels["glands"]()
    assert labels.objects is None and np.array_equal(labels.foreground, blobs() > 0)
    assert labels.classes == {1: "benign"} and not labels.known[:, 80:].any() and labels.known[:, :80].all()
    raster = replace(choice, task="tissue", classes={1: "tumour", 255: "stroma"})
    labels = first(raster, tmp_path).labels["tissue"]()
    assert labels.raster_names == ("tumour", "stroma") and (labels.raster[:, 80:] == 2).all()


def drawn_truth() -> np.ndarray:
    """What own_fakes.features() draws, on the pixels of the slide."""
    truth = np.zeros((256, 256), np.int32)
    truth[50:80, 40:70] = 1
    truth[60:70, 50:60] = 0
    truth[60:70, 90:100] = truth[60:70, 120:130] = 2
    truth[150:158, 150:158] = 3  # from 150.5: the centre of pixel 150 lies on its edge
    return truth


def test_a_region_of_a_slide_is_read_alone_with_holes_and_parts(tmp_path: Path) -> None:
    case = first(made("geojson", tmp_path), tmp_path)
    labels = case.labels["nuclei"]()
    assert case.name == "case1_a-1" and case.mpp == 0.5
    assert case.image().shape == (160, 160, 3)
    assert np.array_equal(labels.objects[:110], drawn_truth()[30:140, 20:180])
    assert (labels.objects[110:] == 3).sum() == 64
    assert labels.classes == {1: "epithelial", 2: "inflammatory"}, "an unclassified cell is one of unknown class"
    assert not labels.known[70:90, 10:30].any(), "what is to be ignored"
    assert labels.known.sum() == 160 * 160 - 400
    import tifffile

    pixels = tifffile.imread(tmp_path / "images/case1_a.tif")
    assert np.array_equal(case.image(), pixels[30:190, 20:180])


def test_a_finer_slide_is_read_at_the_grid_that_the_network_sees(tmp_path: Path) -> None:
    choice = made("geojson", tmp_path)
    for k, name in enumerate(own_fakes.NAMES):
        own_fakes.slide(tmp_path / "images" / f"{name}.tif", k, mpp=0.25)
    case = first(choice, tmp_path)
    assert case.mpp == 0.5 and case.image().shape == (80, 80, 3)
    assert np.array_equal(case.labels["nuclei"]().objects[:55], drawn_truth()[30:140:2, 20:180:2])
    finer = first(replace(choice, scales=(1.0, 2.0)), tmp_path)
    assert finer.mpp == 0.25, "samples that are enlarged need finer pixels"


def test_without_regions_only_what_is_drawn_is_known(tmp_path: Path) -> None:
    choice = made("geojson", tmp_path, known="objects", skip=("Tissue", "Region*"))
    [case, *_] = source_of(choice, mpp=0.5).cases(tmp_path)
    labels = case.labels["nuclei"]()
    assert np.array_equal(labels.known, labels.objects > 0) and labels.objects.max() == 4
    whole = first(replace(choice, known="image"), tmp_path)
    assert whole.name == "case1_a" and whole.image().shape == (256, 256, 3)
    assert whole.labels["nuclei"]().known.sum() == 256 * 256 - 400


def test_every_object_is_known_once_where_the_rest_is_not(tmp_path: Path) -> None:
    choice = made("geojson", tmp_path, known="objects", classes={})
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 900, (60, 2))
    cells = [own_fakes.feature("x", "Polygon", [own_fakes.square(int(x), int(y), 30)]) for x, y in corners]
    own_fakes.slide(tmp_path / "images/case1_a.tif", 0, side=1000)
    (tmp_path / "annotations/case1_a.geojson").write_text(json.dumps(cells))
    cases = [c for c in source_of(choice, mpp=0.5).cases(tmp_path) if c.name.startswith("case1_a-")]
    assert len(cases) == 4
    assert max(max(case.image().shape) for case in cases) < 600
    drawn = np.zeros((1000, 1000), bool)
    for x, y in corners:
        drawn[y : y + 30, x : x + 30] = True
    # Cells that overlap cells of another square may be known in both.
    known = sum(int(case.labels["nuclei"]().known.sum()) for case in cases)
    assert drawn.sum() <= known <= 1.1 * drawn.sum()


def test_qupath_cells_give_their_nuclei_and_derived_classes_their_names(tmp_path: Path) -> None:
    choice = made("geojson", tmp_path, known="image", classes={"Tumor: Positive": "epithelial"}, unknown=())
    nucleus = {"type": "Polygon", "coordinates": [own_fakes.square(12, 12, 6)]}
    cell = own_fakes.feature(None, "Polygon", [own_fakes.square(10, 10, 10)], nucleusGeometry=nucleus)
    cell["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    for path in (tmp_path / "annotations").iterdir():
        path.write_text(json.dumps(cell))
    labels = first(choice, tmp_path).labels["nuclei"]()
    assert labels.objects.sum() == 36 and labels.classes == {1: "epithelial"}


def test_points_drawn_in_a_region(tmp_path: Path) -> None:
    choice = made("geojson", tmp_path)
    some = [
        own_fakes.feature("Region", "Polygon", [own_fakes.square(20, 30, 160)]),
        own_fakes.feature("Tumor", "MultiPoint", [[30, 40], [200, 200], [100.5, 100.5]]),
        own_fakes.feature("Immune", "Point", [50, 60]),
    ]
    for path in (tmp_path / "annotations").iterdir():
        path.write_text(json.dumps(some))
    labels = first(choice, tmp_path).labels["nuclei"]()
    assert labels.points.tolist() == [[10, 10], [80.5, 70.5], [30, 30]]
    assert labels.point_classes == ("epithelial", "epithelial", "inflammatory")


def test_annotated_places_of_tissue(tmp_path: Path) -> None:
    classes = {"Tumor": "tumour", "Immune": "lymphocytes"}
    choice = made(
        "geojson", tmp_path, task="tissue", known="objects", classes=classes, skip=("Region*", "Tissue", "Uncl*")
    )
    labels = first(choice, tmp_path).labels["tissue"]()
    assert labels.raster_names == ("tumour", "lymphocytes") and labels.raster.shape == (256, 256)
    assert np.array_equal(labels.raster[:150], np.minimum(drawn_truth(), 2)[:150])


def test_coco_polygons_run_lengths_and_crowds(tmp_path: Path) -> None:
    labels = first(made("coco", tmp_path), tmp_path).labels["nuclei"]()
    assert (labels.objects[20:32, 10:22] == 1).all() and (labels.objects[52, 53:60] == 1).all()
    assert np.array_equal(labels.objects == 2, blobs() == 3)
    assert labels.classes == {1: "epithelial", 2: "inflammatory"}
    assert np.array_equal(labels.known, blobs() != 2), "nobody counted what is in a crowd"


def test_points_and_boxes(tmp_path: Path) -> None:
    cases = list(source_of(made("points_csv", tmp_path / "a"), mpp=0.5).cases(tmp_path / "a"))
    labels = cases[0].labels["nuclei"]()
    assert labels.points.tolist() == [[10.5, 20.5], [60, 30], [40, 70]] and labels.known.all() and labels.exhaustive
    assert labels.point_classes == ("epithelial", "inflammatory", "")
    assert len(cases[3].labels["nuclei"]().points) == 0, "an image that holds nothing"
    choice = made("boxes_csv", tmp_path / "b")
    labels = first(choice, tmp_path / "b").labels["nuclei"]()
    assert labels.points.tolist() == [[15, 15], [70, 72]]
    assert labels.boxes.tolist() == [[5, 10, 25, 20], [60, 60, 80, 84]]
    some = first(replace(choice, known="objects"), tmp_path / "b").labels["nuclei"]()
    assert some.known[15, 5:25].all() and not some.known[40:48].any() and not some.exhaustive


def test_mpp_comes_from_the_recipe_else_from_the_scanner_else_is_asked_for(tmp_path: Path) -> None:
    choice = made("geojson", tmp_path)
    assert first(choice, tmp_path).mpp == 0.5
    found = looked(replace(choice, mpp=0.25), tmp_path)
    assert found.cases[0].mpp == 0.5, "a scan at 0.25 is read at 0.5"
    assert any("0.25 is used although the scanner says 0.5" in note for note in found.notes)
    choice = replace(made("label_masks", tmp_path / "b"), mpp=None)
    assert faults(choice, tmp_path / "b") == [
        "mylab: images/case1_a.png (and 2 more): no µm per pixel: neither the image nor the recipe says it; write it "
        "into the source of the recipe, such as mpp: 0.25 for a usual 40x scan, mpp: 0.5 for 20x"
    ]


def test_masks_beside_their_images_and_groups_by_folder(tmp_path: Path) -> None:
    choice = made("label_masks", tmp_path)
    for k, name in enumerate(("p1/a", "p1/b", "p2/a")):
        image(tmp_path / "all" / f"{name}.jpg", k)
        mask(tmp_path / "all" / f"{name}_mask.bmp", blobs())
    choice = replace(choice, images="all", labels="all/*_mask.bmp", classes={}, group="folder")
    found = looked(choice, tmp_path)
    # Bitmaps are masks here, and no images that a reader knows.
    assert {fault.where for fault in found.faults} == {f"all/{n}_mask.bmp" for n in ("p1/a", "p1/b", "p2/a")}
    for path in (tmp_path / "all").rglob("*.bmp"):
        path.rename(tmp_path / "masks" / f"{path.parent.name}-{path.stem}.png.bmp")
    assert [case.group for case in found.cases] == ["p1", "p1", "p2"]


WRONG = {
    "an image without its mask": (
        "label_masks",
        lambda root: (root / "masks/case1_b.png").unlink(),
        {},
        "mylab: images/case1_b.png: the image has no mask; add masks/case1_b.png",
    ),
    "a mask of another size": (
        "label_masks",
        lambda root: mask(root / "masks/case1_b.png", np.ones((5, 4))),
        {},
        "mylab: masks/case1_b.png: the mask has 4 x 5 px, its image 96 x 96; save it at the size of its image",
    ),
    "labels outside the class list": (
        "label_masks",
        lambda root: mask(root / "masks/case2_a.png", np.full((SIDE, SIDE), 7)),
        {},
        "mylab: masks/case2_a.png: holds labels that are not in classes: 7; add them to classes",
    ),
    "a colour mask": (
        "label_masks",
        lambda root: image(root / "masks/case2_a.png"),
        {},
        "mylab: masks/case2_a.png: has 3 channels: a colour picture, no mask",
    ),
    "a mask of area for one of objects": (
        "label_masks",
        lambda root: mask(root / "masks/case2_a.png", 255 * (blobs() > 0)),
        {"classes": {}},
        "mylab: masks/case2_a.png: holds 0 and 255 alone: a mask of area, not of numbered objects",
    ),
    "a mask of area beside one of classes": (
        "label_masks",
        lambda root: (
            shutil.copytree(root / "masks", root / "types"),
            mask(root / "masks/case2_a.png", 255 * (blobs() > 0)),
        ),
        {"class_labels": "types"},
        "mylab: masks/case2_a.png: holds 0 and 255 alone: a mask of area, not of numbered objects",
    ),
    "a mask without its image": (
        "label_masks",
        lambda root: mask(root / "masks/case9_a.png", blobs()),
        {},
        "mylab: masks/case9_a.png: the mask has no image of its name; add the image, or remove the mask",
    ),
    "outlines in pixels of a slide": (
        "geojson",
        lambda root: (root / "annotations/case1_a.geojson").write_text(
            json.dumps([own_fakes.feature("Tumor", "Polygon", [own_fakes.square(x, 900, 8)]) for x in (900, 950)])
        ),
        {"known": "image", "skip": ("Region*", "Tissue")},
        "2 of 2 annotations lie outside of the image; give them in pixels of this image, not of the slide",
    ),
    "a name that no group fits": (
        "label_masks",
        lambda root: image(root / "images/slide9.png"),
        {},
        "mylab: images/slide9.png: its name slide9 does not fit the pattern of group",
    ),
    "an image that is none": (
        "geojson",
        lambda root: (root / "images/case1_a.tif").write_bytes(b"nothing"),
        {},
        "mylab: images/case1_a.tif: its content is of no format known here",
    ),
    "an empty source": (
        "label_masks",
        lambda root: [p.unlink() for p in (root / "images").iterdir()],
        {},
        "the source is empty: no image is annotated there; check root, images and labels",
    ),
    "no folder of images": ("coco", lambda root: None, {"images": "pictures"}, "pictures: there is no such folder"),
    "no annotation": (
        "geojson",
        lambda root: (root / "annotations/case1_a.geojson").unlink(),
        {},
        "mylab: images/case1_a.tif: the image has no annotation; export it to annotations/case1_a.geojson",
    ),
    "an annotation without its image": (
        "geojson",
        lambda root: (root / "images/case1_a.tif").unlink(),
        {},
        "mylab: annotations/case1_a.geojson: the annotation has no image of its name",
    ),
    "no region": (
        "geojson",
        lambda root: None,
        {"known": "Place*", "skip": ("Region*", "Tissue")},
        "mylab: annotations/case1_a.geojson (and 2 more): has no annotation of class Place*",
    ),
    "a class that the recipe does not name": (
        "geojson",
        lambda root: None,
        {"classes": {"Tumour": "epithelial", "Immune": None, "Unclassified": None}},
        "class 'Tumor' is not in classes; did you mean Tumour?; add it",
    ),
    "a file that is no GeoJSON": (
        "geojson",
        lambda root: (root / "annotations/case1_a.geojson").write_text('{"features": [{"geometry": null}]}'),
        {},
        "mylab: annotations/case1_a.geojson: is no GeoJSON of polygons and points",
    ),
    "a coordinate that is no number": (
        "geojson",
        lambda root: (root / "annotations/case1_a.geojson").write_text(
            json.dumps(own_fakes.feature("Tumor", "Point", [float("nan"), 1]))
        ),
        {},
        "is no GeoJSON of polygons and points: ValueError a coordinate that is no number",
    ),
    "points for a task of regions": (
        "geojson",
        lambda root: (root / "annotations/case1_a.geojson").write_text(
            json.dumps(own_fakes.feature("x", "Point", [5, 5]))
        ),
        {"task": "glands", "classes": {}, "known": "image"},
        "holds points, which glands can't learn from",
    ),
    "a class of COCO that the recipe does not name": (
        "coco",
        lambda root: None,
        {"classes": {"Tumor": "epithelial"}},
        "mylab: annotations.json: class 'Immune' is not in classes",
    ),
    "no COCO file": ("coco", lambda root: (root / "annotations.json").write_text("[]"), {}, "is no COCO file"),
    "an image that COCO names and is not there": (
        "coco",
        lambda root: (root / "images/case1_a.png").unlink(),
        {},
        "mylab: annotations.json: names the image case1_a.png, which is not there",
    ),
    "a row that is no point": (
        "points_csv",
        lambda root: (root / "points.csv").open("a").write("case1_a.png,x,4,Tumor\n"),
        {},
        "mylab: points.csv: line 12 has no x, y",
    ),
    "a point beside its image": (
        "points_csv",
        lambda root: (root / "points.csv").open("a").write("case1_a.png,500,4,Tumor\n"),
        {},
        "mylab: points.csv: 1 rows lie outside of case1_a (96 x 96 px)",
    ),
    "an image that no row names": (
        "points_csv",
        lambda root: image(root / "images/case4_a.png"),
        {},
        "mylab: images/case4_a.png: no row of points.csv names the image; if it holds nothing, add a row",
    ),
    "a table without a column": (
        "boxes_csv",
        lambda root: (root / "boxes.csv").write_text("image,x,y\n"),
        {},
        "mylab: boxes.csv: can't be read: it has no column xmin, ymin, xmax, ymax",
    ),
    "a folder of no class": (
        "class_folders",
        lambda root: None,
        {"skip": ()},
        "mylab: mixed: is not in classes; add it, or name it in skip",
    ),
    "a class without its folder": (
        "class_folders",
        lambda root: None,
        {"classes": {"TUM": "tumour", "STR": "stroma", "LYM": "lymphocytes"}},
        "mylab: LYM: there is no such folder",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_fault_is_one_line_with_source_file_what_and_mend(case: str, tmp_path: Path) -> None:
    maker, spoil, change, line = WRONG[case]
    choice = made(maker, tmp_path, **change)
    spoil(tmp_path)
    lines = faults(choice, tmp_path)
    assert any(line in each for each in lines), lines
    assert all(each.startswith("mylab") and "\n" not in each for each in lines)
    with pytest.raises(InputError):
        list(source_of(choice, mpp=0.5).cases(tmp_path))


def test_a_thousand_faults_of_a_kind_are_one_line_and_of_many_kinds_twenty(tmp_path: Path) -> None:
    choice = made("label_masks", tmp_path)
    for k in range(30):
        image(tmp_path / "images" / f"case{k}_x.png", k, side=8)
    assert len(faults(choice, tmp_path)) == 21
    for path in (tmp_path / "masks").iterdir():
        path.rename(path.with_suffix(".gone"))
    assert len(faults(replace(choice, labels="nowhere/*"), tmp_path)) == 21


def test_a_place_too_large_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geryon.train.drawings.MOST_PX", 10_000)
    [line] = faults(made("geojson", tmp_path), tmp_path)
    assert "a place of 160 x 160 px would be one training image; annotate places of at most" in line


def test_images_that_came_after_packing_are_told(tmp_path: Path) -> None:
    choice = made("label_masks", tmp_path / "mylab", use="open", licence="ours")
    recipe = Recipe(name="r", licence="open", tasks=("nuclei",), sources=(choice,))
    task, source = recipe.task_values()[0], recipe.source_values()[0]
    samples = [sample_of(case, "mylab", [task]) for case in source.cases(tmp_path / "mylab")]
    assert not_packed(samples, recipe, tmp_path) == []
    shutil.copy(tmp_path / "mylab/images/case1_a.png", tmp_path / "mylab/images/case9_a.png")
    shutil.copy(tmp_path / "mylab/masks/case1_a.png", tmp_path / "mylab/masks/case9_a.png")
    assert not_packed(samples, recipe, tmp_path) == ["mylab: 1 images are not in the pack (case9_a)"]
    assert not_packed(samples, recipe, tmp_path / "elsewhere") == []


def test_masks_of_classes_may_lie_in_a_folder_of_the_masks(tmp_path: Path) -> None:
    choice = made("label_masks", tmp_path, classes={})
    shutil.copytree(tmp_path / "masks", tmp_path / "types")
    shutil.move(tmp_path / "types", tmp_path / "masks" / "types")
    nested = replace(choice, class_labels="masks/types", classes=dict.fromkeys(range(1, 256), ""))
    assert faults(nested, tmp_path) == []
