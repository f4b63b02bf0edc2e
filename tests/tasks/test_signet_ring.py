"""Boxes become targets that know what the source knows, and come back as boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geryon.nets.model import halo_px, load_model, whole_window
from geryon.space.boxes import Frame
from geryon.space.objects import Objects
from geryon.tasks.detection_metrics import match_boxes
from geryon.tasks.signet_ring import SIGNET_RING as TASK
from geryon.tasks.signet_ring import boxes_of, ellipses
from geryon.tasks.task import Labelled
from geryon.train.leaks import is_away
from geryon.train.pack import sample_of
from geryon.train.source import Case
from geryon.train.sources import synthetic_signet

BOXES = np.array([[20.0, 30.0, 40.0, 46.0], [60.0, 60.0, 84.0, 88.0]])
EVERYWHERE = np.ones((128, 128), bool)


def decoded(labelled: Labelled) -> Objects:
    rows, columns = 128, 128
    frame = Frame(name="task", mpp_x=1.0, mpp_y=1.0, width=columns, height=rows)
    halo = halo_px(TASK, frame)
    maps = {
        name: np.pad(np.round(target * 255).astype(np.uint8), ((halo, halo), (halo, halo), (0, 0)))
        for name, (target, _) in TASK.target(labelled, TASK).items()
    }
    return TASK.decode(maps, whole_window(frame, TASK), TASK)


def test_boxes_come_back_as_boxes_with_their_middle_area_and_a_score() -> None:
    found = decoded(Labelled(boxes=BOXES, known=EVERYWHERE))
    assert np.array_equal(found.outlines.boxes(), BOXES)
    assert np.array_equal(found.xy, [[30, 38], [72, 74]]) and np.array_equal(found.area, [320, 24 * 28])
    assert all(len(found.outlines.rings(i)) == 1 and len(found.outlines.rings(i)[0]) == 4 for i in range(2))
    assert (found.score == 255).all() and found.p.shape == (2, 0)


def test_boxes_that_overlap_stay_two() -> None:
    pair = np.array([[20.0, 30.0, 44.0, 54.0], [38.0, 30.0, 62.0, 54.0]])
    found = decoded(Labelled(boxes=pair, known=EVERYWHERE)).outlines.boxes()
    assert found.shape == (2, 4) and np.abs(found - pair).max() <= 3


def test_a_box_teaches_its_inscribed_ellipse() -> None:
    inside = ellipses(BOXES, (128, 128))
    for i, (x0, y0, x1, y1) in enumerate(BOXES, start=1):
        area = np.pi / 4 * (x1 - x0) * (y1 - y0)
        assert abs((inside == i).sum() - area) < 0.03 * area
    assert np.array_equal(boxes_of(inside), BOXES)
    assert not ellipses(np.array([[-30.0, 5.0, -2.0, 20.0], [5.0, 5.0, 5.0, 9.0]]), (64, 64)).any()


def test_exhaustive_boxes_are_known_everywhere_others_in_and_closely_around_them() -> None:
    for name, (_, weight) in TASK.target(Labelled(boxes=BOXES, known=EVERYWHERE), TASK).items():
        assert weight.all(), name
    some = TASK.target(Labelled(boxes=BOXES, known=EVERYWHERE, exhaustive=False), TASK)
    for target, weight in some.values():
        assert weight[38, 18] == 1 and weight[38, 15] == 0 and weight[31, 21] == 1 and not weight[100:].any()
        assert target[31, 21] == 0, "a corner of the box, which its ellipse leaves"
    none = TASK.target(Labelled(boxes=np.zeros((0, 4)), known=EVERYWHERE), TASK)["inside"]
    assert not none[0].any() and none[1].all(), "a negative image is known to hold none"


def test_a_pack_knows_nothing_where_a_small_picture_was_mirrored() -> None:
    image = np.full((200, 240, 3), 200, np.uint8)
    boxes = Labelled(boxes=np.array([[200.0, 20.0, 238.0, 60.0]]))
    case = Case(name="a", group="a", image=lambda: image, mpp=0.5, labels={"signet_ring": lambda: boxes})
    sample = sample_of(case, "x", [TASK])
    known = sample.weights["signet_ring/inside"] > 0
    assert known.shape == (160, 160) and known[:100, :120].all() and not known[100:].any() and not known[:, 120:].any()
    assert np.array_equal(
        boxes_of((sample.targets["signet_ring/inside"][..., 0] > 0).astype(int)), [[100, 10, 119, 30]]
    )


@pytest.mark.filterwarnings("ignore::geryon.nets.model.ResearchOnly")
def test_the_shipped_head_finds_synthetic_cells_that_it_did_not_learn_from() -> None:
    model = load_model("geryon-s-research-signet_ring", engine="cpu", tasks=["signet_ring"])
    away = model.document.held_out["synthetic_signet"]
    case = next(case for case in synthetic_signet.cases(Path()) if is_away(case, away))
    truth = case.labels["signet_ring"]().boxes
    found = model.predict(case.image(), mpp=case.mpp).objects["signet_ring"]
    pairs = match_boxes(found.outlines.boxes(), found.score, truth, 0.3)
    assert len(truth) > 3 and 2 * len(pairs) > 0.8 * (len(truth) + len(found))
    blank = model.predict(np.full((640, 640, 3), 240, np.uint8), mpp=0.5)
    assert len(blank.objects["signet_ring"]) == 0
