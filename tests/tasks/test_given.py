"""Class maps asked at given places: by hand, on other grids, at the border, and as found objects are pooled."""

from dataclasses import replace

import numpy as np

from geryon.nets.model import whole_window
from geryon.space.boxes import Frame
from geryon.tasks import decoding, given
from geryon.tasks.given import ClassMap, at_points, class_map_of, given_classes, in_outlines
from geryon.tasks.task import Labelled, get_task

NUCLEI = get_task("nuclei")
FRAME = Frame(name="level0", mpp_x=0.5, mpp_y=0.5, width=8, height=8)
LEFT = np.where(np.arange(4)[None, :, None] < 2, np.array([200, 40]), np.array([60, 180])).astype(np.uint8)
HALVES = ClassMap(p=np.repeat(LEFT, 4, axis=0), cell_px=2.0)
"""8 x 8 pixels of 4 x 4 cells: its left half says (200, 40), its right half (60, 180)."""


def random_map(rng, leaves=3):
    return ClassMap(p=rng.integers(0, 256, (4, 4, leaves)).astype(np.uint8), cell_px=2.0)


def test_an_outline_has_the_mean_of_its_pixels():
    labels = np.zeros((8, 8), np.int32)
    labels[2:4, 1:4] = 1  # left half only
    labels[5, 3:7] = 2  # one pixel left, three right
    labels[7, 7] = 3
    found = in_outlines(HALVES, labels, (8, 8))
    assert found.tolist() == [[200, 40], [95, 145], [60, 180]]


def test_given_objects_are_pooled_as_found_ones_are():
    rng = np.random.default_rng(0)
    labels, said = decoding.components(rng.random((8, 8)) < 0.5)[0], random_map(rng)
    score = np.zeros((8, 8, 1), np.uint8)
    found = decoding.objects_from_labels(labels, score=score, classes=said.p, frame=FRAME, coarse=2)
    assert len(found) > 2
    np.testing.assert_array_equal(in_outlines(said, labels, (8, 8)), found.p)


def test_outlines_on_a_finer_or_coarser_grid_say_the_same():
    labels = np.kron(np.arange(16).reshape(4, 4), np.ones((2, 2), int)).astype(np.int32)
    said = random_map(np.random.default_rng(1))
    own = in_outlines(said, labels, (8, 8))
    np.testing.assert_array_equal(own, said.p.reshape(16, 3)[1:])
    finer = np.kron(labels, np.ones((3, 3), int)).astype(np.int32)
    np.testing.assert_array_equal(in_outlines(said, finer, (8, 8)), own)
    np.testing.assert_array_equal(in_outlines(said, labels[::2, ::2], (8, 8)), own)


def test_a_point_has_the_mean_of_the_cells_whose_centre_is_near():
    said = random_map(np.random.default_rng(2))
    [found] = at_points(said, np.array([[3.0, 5.0]]), 2.1)  # the centre of cell (row 2, column 1) and its neighbours
    cells = said.p[[2, 1, 3, 2, 2], [1, 1, 1, 0, 2]].astype(int)
    np.testing.assert_array_equal(found, (2 * cells.sum(axis=0) + 5) // 10)
    np.testing.assert_array_equal(at_points(said, np.array([[3.0, 5.0]]), 0.1)[0], said.p[2, 1])


def test_of_a_disc_past_the_border_the_part_inside_counts():
    said = random_map(np.random.default_rng(3))
    corners = at_points(said, np.array([[1.0, 1.0], [8.0, 8.0], [0.0, 0.0]]), 2.1)
    three = said.p[[0, 0, 1], [0, 1, 0]].astype(int)
    np.testing.assert_array_equal(corners[0], (2 * three.sum(axis=0) + 3) // 6)
    np.testing.assert_array_equal(corners[1], said.p[3, 3])  # the next centres are 3.2 px away
    np.testing.assert_array_equal(corners[2], said.p[0, 0])
    assert at_points(said, np.zeros((0, 2)), 2.1).shape == (0, 3)


def test_objects_of_unknown_or_foreign_class_are_left_out():
    said = ClassMap(p=np.full((4, 4, 7), 9, np.uint8), cell_px=2.0)
    labels = np.array([[1, 0, 3, 4], [0, 0, 6, 0]], np.int32)
    classes = {1: "epithelial", 3: "", 4: "chondrocyte", 5: "plasma", 6: "inflammatory"}  # 5 is drawn nowhere
    p, names = given_classes(said, Labelled(objects=labels, classes=classes), NUCLEI, (8, 8), 0.5)
    assert names == ("epithelial", "inflammatory") and p.tolist() == [[9] * 7] * 2
    kinds = ("", "plasma", "chondrocyte")
    p, names = given_classes(said, Labelled(points=np.ones((3, 2)), point_classes=kinds), NUCLEI, (8, 8), 0.5)
    assert names == ("plasma",) and p.tolist() == [[9] * 7]


def test_labels_without_any_class_say_nothing():
    said = ClassMap(p=np.zeros((4, 4, 7), np.uint8), cell_px=2.0)
    silent = (
        Labelled(objects=np.ones((8, 8), np.int32)),
        Labelled(points=np.ones((2, 2)), point_classes=("", "")),
        Labelled(points=np.ones((2, 2))),
        Labelled(foreground=np.ones((8, 8), bool), classes={1: "epithelial"}),
    )
    assert [given_classes(said, each, NUCLEI, (8, 8), 0.5) for each in silent] == [None] * 4


def test_points_are_in_pixels_of_their_own_grid():
    p = np.zeros((40, 40, 7), np.uint8)
    p[:, 20:, 3] = 255
    said, known = ClassMap(p=p, cell_px=2.0), np.ones((160, 160), bool)  # twice as fine as the image
    points = np.array([[60.0, 80.0], [100.0, 80.0]])
    labelled = Labelled(points=points, point_classes=("plasma", "plasma"), known=known)
    found, _ = given_classes(said, labelled, NUCLEI, (80, 80), 0.5)
    assert found[:, 3].tolist() == [0, 255]
    # A disc of 3 µm about a point 1 µm left of the border between the halves holds more of the left one.
    near = replace(labelled, points=np.array([[76.0, 80.0], [80.0 - 4 * given.DISC_UM - 4, 80.0]]))
    mixed, clear = given_classes(said, near, NUCLEI, (80, 80), 0.5)[0][:, 3]
    assert 40 < mixed < 120 and clear == 0


def test_a_class_map_is_the_part_of_its_window_that_the_image_holds():
    frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=30, height=21)
    window = whole_window(frame, NUCLEI)
    rows, columns = (side // 2 for side in window.outer.shape)
    plane = np.random.default_rng(4).integers(0, 256, (rows, columns, 7)).astype(np.uint8)
    said = class_map_of({"class": plane}, window, NUCLEI, 0.25)
    x, y = (offset // 2 for offset in window.offset)
    np.testing.assert_array_equal(said.p, plane[y : y + 11, x : x + 15])
    assert said.cell_px == 4.0, "cells of 1 µm in an image of 0.25 µm per pixel"
    for name in ("lumina", "tissue"):
        assert class_map_of({}, window, get_task(name), 0.25) is None
