"""Figures of classes where the places of objects are given: worked by hand, with a model whose class map is known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from geryon.space.boxes import Frame
from geryon.space.objects import no_objects
from geryon.tasks.calibration import Calibration
from geryon.tasks.given import ClassMap
from geryon.tasks.task import ClassTree, Labelled, get_task
from geryon.train.evaluate import Look, evaluate
from geryon.train.floors import Found
from tests.train.test_evaluate import FakeCase

LOOK = Look(source="made", draws=50)
TREE = ClassTree.of({"epithelial": (), "inflammatory": ("lymphocyte", "plasma"), "connective": ()})
NUCLEI = replace(get_task("nuclei"), classes=TREE)
STRIPES = np.array([[200, 20, 20, 15], [90, 70, 70, 25], [80, 75, 30, 70], [20, 20, 15, 200]], np.uint8)
"""Of four stripes of 20 pixels: p of epithelial, lymphocyte, plasma, connective."""


@dataclass(frozen=True)
class Seen(Found):
    class_maps: dict = None


@dataclass(frozen=True)
class Blind:
    """Finds no nucleus anywhere, but has a class map."""

    name: str = "blind"
    tasks: tuple = (NUCLEI,)

    def predict_with_class_maps(self, image, *, mpp):
        plane = np.repeat(np.repeat(STRIPES[None], 40, axis=0), 10, axis=1)  # cells of two pixels
        frame = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=80, height=80)
        maps = {"nuclei": ClassMap(p=np.ascontiguousarray(plane), cell_px=2.0)}
        return Seen({"nuclei": no_objects(frame, 4)}, class_maps=maps)

    def predict(self, image, *, mpp):
        raise AssertionError("class maps are wanted")


@dataclass(frozen=True)
class Mapless:
    """Finds as little and has none, as floors and folders of results."""

    name: str = "mapless"
    tasks: tuple = (NUCLEI,)

    def predict(self, image, *, mpp):
        return Found(Blind().predict_with_class_maps(image, mpp=mpp).objects)


def case(labelled, name="a"):
    return FakeCase(name, name, np.full((80, 80, 3), 240, np.uint8), 0.5, {"nuclei": lambda: labelled})


def in_stripes(kinds):
    """A point in the middle of each stripe, with one class a stripe."""
    points = np.array([[10.0, 40.0], [30.0, 40.0], [50.0, 40.0], [70.0, 40.0]])
    return Labelled(points=points[: len(kinds)], point_classes=kinds, known=np.ones((80, 80), bool))


def figures(cases, by="model", model=None):
    rows = evaluate(model or Blind(), cases, look=LOOK).rows
    return {row.metric: row for row in rows if row.metric.startswith("given_") and row.by == by}


def test_points_by_hand_though_none_is_found():
    # Said at the depth of leaves: epithelial, epithelial, epithelial, connective.
    first = in_stripes(("epithelial", "lymphocyte", "epithelial", "connective"))
    second = in_stripes(("epithelial", "", "chondrocyte", "lymphocyte"))
    cases = [case(first, "a"), case(second, "b")]
    rows = figures(cases)
    value = {name: row.value for name, row in rows.items()}
    # Known: epithelial 3 of 3 right (one more said), lymphocyte 0 of 2, connective 1 of 1 (one more said).
    assert value["given_accuracy"] == pytest.approx(4 / 6)
    assert value["given_balanced_accuracy"] == pytest.approx((1 + 0 + 1) / 3)
    assert value["given_f1/epithelial"] == pytest.approx(6 / 7)
    assert value["given_f1/lymphocyte"] == 0.0
    assert value["given_f1/connective"] == pytest.approx(2 / 3)
    assert value["given_weighted_f1"] == pytest.approx((3 * 6 / 7 + 0 + 2 / 3) / 6)
    assert set(value) == {"given_accuracy", "given_balanced_accuracy", "given_weighted_f1"} | {
        f"given_f1/{name}" for name in ("epithelial", "lymphocyte", "connective")
    }
    row = rows["given_weighted_f1"]
    assert (row.images, row.objects, row.groups) == (2, 6, 2) and row.low <= row.value <= row.high
    assert "within 3 µm of each true point" in row.protocol and "their places given" in row.protocol
    floor = {name: row.value for name, row in figures(cases, "majority class").items()}
    # Always "epithelial": 3 of 6 right, its F1 is 6 / 9, its weight a half.
    assert floor == pytest.approx(
        {"given_accuracy": 0.5, "given_balanced_accuracy": 1 / 3, "given_weighted_f1": 0.5 * 6 / 9}
    )


def test_coarse_names_take_their_leaves_together():
    rows = figures([case(in_stripes(("epithelial", "inflammatory", "inflammatory", "connective")))])
    assert rows["given_accuracy"].value == 1.0, "70 + 70 beat 90, 75 + 30 beat 80"


def test_outlines_are_given_to_the_model():
    labels = np.zeros((80, 80), np.int32)
    labels[5:15, 2:18], labels[5:15, 25:35], labels[5:15, 45:55], labels[40:60, 15:45] = 1, 2, 7, 9
    classes = {1: "epithelial", 2: "lymphocyte", 7: "", 9: "epithelial"}  # 9 lies over three stripes
    outlined = Labelled(objects=labels, classes=classes)
    rows = figures([case(outlined)])
    assert rows["given_accuracy"].value == pytest.approx(2 / 3) and rows["given_accuracy"].objects == 3
    assert "pooled over each true outline" in rows["given_accuracy"].protocol


def test_images_that_are_labelled_in_part_give_their_objects_too():
    some = replace(in_stripes(("epithelial",)), exhaustive=False)
    rows = evaluate(Blind(), [case(some)], look=LOOK).rows
    assert {row.metric for row in rows} == {
        "given_accuracy",
        "given_balanced_accuracy",
        "given_weighted_f1",
        "given_f1/epithelial",
    }


def test_a_calibration_is_counted():
    cold = replace(NUCLEI, calibration=Calibration(class_temperature=0.1))
    told = in_stripes(("epithelial", "inflammatory"))
    assert figures([case(told)])["given_accuracy"].value == 1.0
    # Near certainty 90 alone is more than twice 70.
    sharp = figures([case(told)], model=Blind(tasks=(cold,)))
    assert sharp["given_accuracy"].value == 0.5


def test_colour_floors_stand_beside():
    kinds = ("epithelial", "lymphocyte", "epithelial", "connective")
    cases = [case(in_stripes(kinds), "a"), case(in_stripes(kinds), "b")]
    rows = evaluate(Blind(), cases[:1], train_cases=cases[1:], look=LOOK).rows
    floor = {row.metric: row.value for row in rows if row.by == "colour, logistic"}
    assert floor["given_accuracy"] == floor["accuracy"]


def test_without_class_maps_or_classes_there_are_no_such_rows():
    told = case(in_stripes(("epithelial", "plasma")))
    assert not figures([told], model=Mapless())
    assert not figures([case(Labelled(objects=np.ones((80, 80), np.int32)))])
    assert not figures([case(in_stripes(("chondrocyte", "")))])
