"""The published post-processing against the reference data, and our own rules on synthetic maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.segmentation import watershed

from geryon.space.boxes import Box, Frame
from geryon.space.seams import LINK_PX
from geryon.space.windows import Window
from geryon.tasks import cerberus_decoding as rules
from geryon.tasks import cerberus_kernels, published, targets
from geryon.tasks.task import Labelled


def reference(name: str) -> dict[str, np.ndarray]:
    path = Path(__file__).parents[3] / "shared" / "reference" / "cerberus" / name
    if not path.exists():
        pytest.skip(f"needs shared/reference/cerberus/{name}")
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def as_float(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) / np.float32(255)


def check_table(data: dict[str, np.ndarray], start: str, labels: np.ndarray, types: np.ndarray | None, ds: float):
    table = rules.instance_table(labels.astype(np.int32), types, ds)
    assert np.array_equal(table.ids, data[f"{start}ids"])
    assert np.array_equal(table.box[:, [1, 0, 3, 2]], data[f"{start}box_rc"])
    assert np.abs(table.centroid - data[f"{start}centroid_xy"]).max() <= (1e-6 if ds == 1 else 0)
    ends = np.cumsum(data[f"{start}contour_len"])
    for mine, theirs in zip(table.contours, np.split(data[f"{start}contour_xy"], ends[:-1]), strict=True):
        assert set(map(tuple, mine.tolist())) == set(map(tuple, theirs.tolist()))
    if types is not None:
        assert np.array_equal(table.kind, data[f"{start}type"])
        assert np.allclose(table.kind_share, data[f"{start}type_prob"], atol=1e-9)


@pytest.mark.parametrize("scene", ["tile", "wsi"])
@pytest.mark.parametrize("form", [as_float, np.asarray])
def test_glands_and_lumina_are_the_published_ones(scene, form):
    gland, lumen = reference("postproc_gland.npz"), reference("postproc_lumen.npz")
    ds = float(gland[f"{scene}_ds"])
    maps = [form(data[f"{scene}_{part}_u8"]) for data in (gland, lumen) for part in ("inner", "contour")]
    glands = rules.decode_glands(maps[0], maps[1], ds, published=True)
    lumina = rules.decode_lumina(maps[2], maps[3], ds, published=True)
    assert np.array_equal(glands, gland[f"{scene}_inst"])
    assert np.array_equal(lumina, lumen[f"{scene}_inst"])
    assert np.array_equal(rules.inside_glands(lumina, glands), lumen[f"{scene}_inst_in_gland"])
    check_table(gland, f"{scene}_", glands, gland[f"{scene}_type_u8"], ds)
    check_table(lumen, f"{scene}_", lumina, None, ds)
    check_table(lumen, f"{scene}_in_gland_", rules.inside_glands(lumina, glands), None, ds)


@pytest.mark.parametrize("start", ["", "hard_"])
@pytest.mark.parametrize("form", [as_float, np.asarray])
def test_nuclei_are_the_published_ones(start, form):
    data = reference("postproc_nuclei.npz")
    found = rules.decode_nuclei(form(data[f"{start}inner_u8"]), form(data[f"{start}contour_u8"]))
    theirs = data[f"{start}inst"].astype(np.int64)
    pairs = np.unique(np.stack([found.ravel(), theirs.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(theirs)) == len(np.unique(found))
    check_table(data, start, theirs, data["type_u8"], 1.0)


def test_objects_of_the_published_tile_come_from_its_maps():
    data = reference("tile_case.npz")
    parts = {k: np.moveaxis(data[f"{k}-INST_prob_f16"].astype(np.float32), 2, 0) for k in ("Gland", "Lumen", "Nuclei")}
    glands = rules.decode_glands(*parts["Gland"], published=True)
    lumina = rules.inside_glands(rules.decode_lumina(*parts["Lumen"], published=True), glands)
    nuclei = rules.decode_nuclei(*parts["Nuclei"])
    for labels, name in ((glands, "Gland"), (lumina, "Lumen"), (nuclei, "Nuclei")):
        wanted = data[f"{name}_inst"]
        n = len(np.unique(wanted))
        assert abs(len(np.unique(labels)) - n) <= 0.01 * n
        assert ((labels > 0) != (wanted > 0)).sum() <= 1e-3 * (wanted > 0).sum()


def test_a_gland_at_the_border_grows_there_unless_as_published():
    block = np.zeros((300, 300), np.float32)
    block[5:65, 100:180] = 1
    nothing = np.zeros_like(block)
    assert (rules.decode_glands(block, nothing, published=True) > 0).sum() == 5772
    assert (rules.decode_glands(block, nothing) > 0).sum() == 6124


def test_growing_does_not_depend_on_where_the_border_is():
    rng = np.random.default_rng(3)
    inner = cv2.GaussianBlur(rng.random((160, 200)).astype(np.float32), (0, 0), 6)
    inner = (inner - inner.min()) / np.ptp(inner)
    around = np.pad(inner, 40)
    alone = rules.decode_glands(inner, 0 * inner, 0.5)
    assert alone.max() > 1
    assert np.array_equal(alone > 0, (rules.decode_glands(around, 0 * around, 0.5) > 0)[40:-40, 40:-40])


def test_even_kernels_reach_further_up_and_left():
    assert rules.ellipse(1).tolist() == [[1]]
    assert rules.ellipse(2).tolist() == [[0, 1], [1, 1]]
    assert rules.ellipse(3).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert rules.ellipse(5).sum(axis=1).tolist() == [1, 5, 5, 5, 1]


@pytest.mark.parametrize("seed", range(3))
def test_watershed_is_that_of_scikit_image_where_heights_differ(seed):
    rng = np.random.default_rng(seed)
    height_map = cv2.GaussianBlur(rng.standard_normal((70, 90)), (0, 0), 2).astype(np.float32)
    markers, _ = cerberus_kernels.parts((height_map < -0.12).astype(np.uint8))
    mask = height_map < 0.1
    assert markers.max() > 3
    assert np.array_equal(cerberus_kernels.flood(height_map, markers, mask), watershed(height_map, markers, mask=mask))


def test_a_plateau_is_shared_by_age():
    markers = np.zeros((3, 9), np.int32)
    markers[1, 0], markers[1, 8] = 1, 2
    flat = np.zeros(markers.shape, np.float32)
    everywhere = np.ones(markers.shape, bool)
    found = cerberus_kernels.flood(flat, markers, everywhere)
    assert np.array_equal(found, watershed(flat, markers))
    assert (found[1] == [1, 1, 1, 1, 1, 2, 2, 2, 2]).all()


def test_parts_follow_reading_order_and_values():
    values = np.array([[2, 0, 3, 3], [2, 3, 0, 3], [0, 3, 3, 3]], np.int32)
    parts, n = cerberus_kernels.parts(values)
    assert n == 2
    assert parts.tolist() == [[1, 0, 2, 2], [1, 2, 0, 2], [0, 2, 2, 2]]


def test_the_second_choice_counts_where_most_pixels_have_no_type():
    votes = np.array([[5, 0, 3, 3], [9, 0, 0, 0], [1, 2, 7, 7]])
    kind, share = rules.majority(votes, votes.sum(axis=1))
    assert kind.tolist() == [2, 0, 2]
    assert np.allclose(share, [3 / 11, 1.0, 7 / 17], atol=1e-5)


def test_objects_carry_the_published_type_as_their_largest_class():
    data = reference("postproc_nuclei.npz")
    labels = data["inst"].astype(np.int32)
    frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=labels.shape[1], height=labels.shape[0])
    objects = rules.objects_of(labels, data["inner_u8"], data["type_u8"], frame, classes=6)
    table = rules.instance_table(labels, data["type_u8"])
    at = {tuple(np.round(xy, 6)): i for i, xy in enumerate((objects.xy - 0.5).tolist())}
    mine = [at[tuple(np.round(xy, 6))] for xy in table.centroid.tolist()]
    assert len(objects) >= len(table.ids) == len(set(mine))
    typed = table.kind > 0
    assert np.array_equal(objects.p[mine].argmax(axis=1)[typed] + 1, table.kind[typed])
    assert np.abs(objects.p[mine].max(axis=1)[typed] / 255 - table.kind_share[typed]).max() < 0.003


def maps_of(data: dict[str, np.ndarray], kinds: int) -> dict[str, np.ndarray]:
    inner, contour = data["inner"], data["contour"]
    rest = (255 - np.minimum(255, inner.astype(int) + contour)).astype(np.uint8)
    types = (data["type"][..., None] == np.arange(kinds)) * np.uint8(255)
    return {"inst": np.stack([rest, inner, contour], axis=2), "class": types.astype(np.uint8)}


def windows(shape: tuple[int, int], step: int, halo: int):
    frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=shape[1], height=shape[0])
    for y in range(0, shape[0], step):
        for x in range(0, shape[1], step):
            core = Box(frame, x, y, min(x + step, shape[1]), min(y + step, shape[0]))
            yield Window(core, core.grow(halo))


def cut(maps: dict[str, np.ndarray], window: Window, halo: int) -> dict[str, np.ndarray]:
    x, y = round(window.outer.xmin) + halo, round(window.outer.ymin) + halo
    rows, columns = window.outer.shape
    wide = {k: np.pad(v, ((halo, halo), (halo, halo), (0, 0))) for k, v in maps.items()}
    return {k: v[y : y + rows, x : x + columns] for k, v in wide.items()}


def test_nuclei_are_the_same_for_any_cutting():
    data = reference("postproc_nuclei.npz")
    maps = maps_of({"inner": data["inner_u8"], "contour": data["contour_u8"], "type": data["type_u8"]}, 7)
    shape = data["inner_u8"].shape
    halo = published.NUCLEUS_REACH_PX
    found = {}
    for step in (600, 170):
        rows = []
        for window in windows(shape, step, halo):
            objects = published.decode_nuclei(cut(maps, window, halo), window, published.NUCLEI)
            rows += [(*xy, a, *p) for xy, a, p in zip(objects.xy, objects.area, objects.p, strict=True)]
        found[step] = np.array(sorted(tuple(np.round(row, 6)) for row in rows))
    assert len(found[600]) == len(rules.instance_table(data["inst"].astype(np.int32)).ids)
    assert np.array_equal(found[600], found[170])


def test_glands_are_told_in_fragments_that_cover_each_pixel_once():
    data = reference("postproc_gland.npz")
    maps = maps_of({k: data[f"wsi_{k}_u8"] for k in ("inner", "contour", "type")}, 3)
    shape = data["wsi_inner_u8"].shape
    halo = 16
    whole = np.zeros((2, *shape), bool)
    for i, step in enumerate((400, 64)):
        for window in windows(shape, step, halo):
            fragments = published.decode_glands(cut(maps, window, halo), window, published.GLANDS)
            x, y = round(window.core.xmin), round(window.core.ymin)
            rows, columns = window.core.shape
            whole[i, y : y + rows, x : x + columns] = fragments.labels > 0
            assert fragments.place[:, 0].sum() == (fragments.labels > 0).sum()
            assert fragments.band.shape == (rows + 2 * LINK_PX, columns + 2 * LINK_PX)
    assert np.array_equal(whole[0], whole[1])
    large = data["wsi_inst"] > 0
    assert whole[0][large].mean() > 0.99


CLASSES = {"Gland": published.GLANDS, "Nuclei": published.NUCLEI, "Lumen": published.LUMINA}


@pytest.mark.parametrize("name", CLASSES)
def test_targets_and_their_weights_are_the_published_ones(name):
    """Only objects of the crop are drawn there, and glands and lumina at 0.5 µm per pixel."""
    data, task = reference("targets.npz"), replace(CLASSES[name], mpp=0.5)
    inst, types = data[f"{name}_inst"].astype(np.int32), data[f"{name}_type"]
    middle = tuple(slice((n - 144) // 2, (n - 144) // 2 + 144) for n in inst.shape)
    inst = np.where(np.isin(inst, inst[middle]), inst, 0)
    names = {i: task.class_names[types[inst == i][0] - 1] for i in np.unique(inst[inst > 0])} if task.classes else {}
    out = task.target(Labelled(objects=inst, classes=names), task)
    target, weight = (each[middle] for each in out["inst"])
    assert np.array_equal(target.argmax(axis=2), data[f"{name}_target"]) and (target.sum(axis=2) == 1).all()
    assert np.abs(weight - data[f"{name}_weight"]).max() < 1e-4 and data[f"{name}_weight"].max() > 4
    if task.classes:
        classes, class_weight = (each[middle] for each in out["class"])
        assert np.array_equal(classes.argmax(axis=2), data[f"{name}_type_target"])
        of_class = np.array([0.0, *published.CLASS_WEIGHTS[task.name]])
        assert np.array_equal(class_weight, of_class[data[f"{name}_type_target"]])


def test_borders_weigh_most_between_near_objects_and_nothing_changes_with_one_alone():
    inner = np.zeros((40, 60), bool)
    inner[10:20, 5:15] = True
    assert (targets.border_weight(inner, 11.0) == 1).all()
    inner[10:20, 18:28] = True
    weight = targets.border_weight(inner, 3.0)
    assert (weight[inner] == 1).all() and weight.dtype == np.float32
    assert weight[15, 16] == pytest.approx(1 + 10 * np.exp(-(((2 + 2) / 3.0) ** 2) / 2)) and weight[:, 40:].max() == 1


def test_a_target_says_inner_contour_and_class():
    objects = np.zeros((30, 30), np.int32)
    objects[5:15, 5:15] = 7
    out = published.NUCLEI.target(Labelled(objects=objects, classes={7: "plasma"}), published.NUCLEI)
    inst, weight = out["inst"]
    assert (weight == 1).all() and (inst.sum(axis=2) == 1).all()
    assert inst[10, 10].tolist() == [0, 1, 0] and inst[5, 10].tolist() == [0, 0, 1] and inst[0, 0].tolist() == [1, 0, 0]
    each, class_weight = out["class"]
    assert each.shape[2] == 7 and each[10, 10, 4] == 1 and class_weight.sum() == 6 * 100


def test_published_tasks_name_what_the_network_gives():
    channels = {f"{t.name}/{m.name}": m.channels for t in published.CERBERUS for m in t.maps}
    assert channels == {
        "nuclei/inst": 3, "nuclei/class": 7, "glands/inst": 3, "glands/class": 3, "lumina/inst": 3, "tissue/class": 9
    }  # fmt: skip
    assert sorted(published.TISSUE.class_names) == [
        "adipose", "background", "debris", "lymphocytes", "mucus", "muscle", "normal", "stroma", "tumour"
    ]  # fmt: skip
    assert all(len(t.colours) == max(1, len(t.class_names)) for t in published.CERBERUS)
