"""Evaluation of a fake model whose answers are known."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from geryon import events, plugins
from geryon.cli import evaluate as command
from geryon.errors import UsageError
from geryon.nets import weights
from geryon.nets.weights import ModelDocument, TaskDocument
from geryon.space.boxes import Frame
from geryon.tasks import decoding
from geryon.tasks.task import ClassTree, Labelled, get_task
from geryon.train import floors, scoring
from geryon.train.evaluate import Look, evaluate
from geryon.train.overlays import overlays
from geryon.train.tables import table

COLOURS = {"epithelial": (180, 60, 160), "inflammatory": (60, 40, 120)}
LOOK = Look(source="made", draws=50)


@dataclass(frozen=True)
class FakeCase:
    name: str
    group: str
    pixels: np.ndarray
    mpp: float
    labels: dict[str, Callable[[], Labelled]] = field(default_factory=dict)
    stratum: str = ""

    def image(self) -> np.ndarray:
        return self.pixels


def squares(n=4, side=10, pitch=16) -> np.ndarray:
    labels = np.zeros((n * pitch, n * pitch), np.int32)
    for i in range(n * n):
        y, x = (i // n) * pitch + 2, (i % n) * pitch + 3
        labels[y : y + side, x : x + side] = i + 1
    return labels


def nuclei_case(name="a", group="g1", seed=0) -> FakeCase:
    labels = squares()
    rng = np.random.default_rng(seed)
    names = {int(i): str(rng.choice(list(COLOURS))) for i in range(1, labels.max() + 1)}
    image = np.full((*labels.shape, 3), 240, np.uint8)
    for i, kind in names.items():
        image[labels == i] = np.array(COLOURS[kind]) + rng.integers(-20, 20)
    return FakeCase(name, group, image, 0.5, {"nuclei": lambda: Labelled(objects=labels, classes=names)})


def objects_of(labels, names, task, mpp):
    frame = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=labels.shape[1], height=labels.shape[0])
    p = np.zeros((*labels.shape, len(task.class_names)), np.uint8)
    for i, name in (names or {}).items():
        p[labels == i, task.classes.below(name)[0]] = 255
    score = np.full((*labels.shape, 1), 255, np.uint8)
    return decoding.objects_from_labels(labels, score=score, classes=p, frame=frame)


class Echo:
    """Says what a case's labels say, after `spoil` had its way."""

    name = "echo"

    def __init__(self, cases, task="nuclei", spoil=lambda labels, names: (labels, names)):
        self.tasks = (get_task(task),)
        self.cases, self.spoil = {c.pixels.tobytes(): c for c in cases}, spoil

    def predict(self, image, *, mpp):
        case, task = self.cases[image.tobytes()], self.tasks[0]
        labelled = case.labels[task.name]()
        labels, names = self.spoil(labelled.objects, dict(labelled.classes or {}))
        return floors.Found({task.name: objects_of(labels, names, task, mpp)})


def value(result, metric, by="model"):
    row = result.figure(result.rows[0].task, metric, by)
    assert row is not None, f"no {metric} by {by}"
    return row.value


def test_echo_of_the_truth_is_perfect():
    cases = [nuclei_case("a", "g1", 0), nuclei_case("b", "g2", 1)]
    result = evaluate(Echo(cases), cases, look=LOOK)
    for metric in ("pq", "aji", "dice", "pq_mean", "f_d", "f_c/epithelial", "f_c/inflammatory", "accuracy"):
        assert value(result, metric) == 1.0, metric
    row = result.figure("nuclei", "pq")
    assert (row.source, row.images, row.objects, row.groups, row.low, row.high) == ("made", 2, 32, 2, 1.0, 1.0)
    assert "0.5 µm/px" in row.protocol


def test_lost_objects_and_wrong_classes_show():
    cases = [nuclei_case("a", "g1", 0), nuclei_case("b", "g2", 1)]

    def spoil(labels, names):
        kept = np.where(labels <= 12, labels, 0).astype(np.int32)
        return kept, dict.fromkeys(names, "epithelial")

    result = evaluate(Echo(cases, spoil=spoil), cases, look=LOOK)
    assert value(result, "pq") == pytest.approx(24 / (24 + 4))
    assert value(result, "f_d") == pytest.approx(24 / (24 + 4))
    truth = [name for c in cases for i, name in c.labels["nuclei"]().classes.items() if i <= 12]
    assert value(result, "accuracy") == pytest.approx(truth.count("epithelial") / 24)
    assert value(result, "balanced_accuracy") == 0.5
    largest = max(truth.count(name) for name in COLOURS) / 24
    assert value(result, "accuracy", "majority class") == pytest.approx(largest)
    assert value(result, "balanced_accuracy", "majority class") == 0.5


def test_colour_floors_learn_from_training_cases():
    cases, train = [nuclei_case("a", "g1", 0)], [nuclei_case("c", "g3", 5)]
    result = evaluate(Echo(cases), cases, train_cases=train, look=LOOK)
    for floor in ("colour, logistic", "colour, nearest centroid"):
        assert value(result, "accuracy", floor) == 1.0
    assert not [row for row in evaluate(Echo(cases), cases, look=LOOK).rows if row.by.startswith("colour")]


def test_unknown_regions_count_for_nothing():
    case = nuclei_case()
    labels = squares()
    known = np.zeros(labels.shape, bool)
    known[:, :32] = True
    half = np.where(known, labels, 0).astype(np.int32)
    silent = FakeCase("a", "g", case.pixels, 0.5, {"nuclei": lambda: Labelled(objects=half, known=known)})
    result = evaluate(Echo([case]), [silent], look=LOOK)
    assert value(result, "pq") == 1.0
    assert result.figure("nuclei", "pq").objects == 8
    assert result.figure("nuclei", "f_d").value == 1.0
    assert result.figure("nuclei", "accuracy") is None


def test_labels_on_a_finer_grid_than_the_image():
    case = nuclei_case()
    fine = np.kron(squares(), np.ones((2, 2), np.int32)).astype(np.int32)
    finer = FakeCase("a", "g", case.pixels, 0.5, {"nuclei": lambda: Labelled(objects=fine)})
    result = evaluate(Echo([case]), [finer], look=LOOK)
    assert value(result, "pq") > 0.98  # outlines may cut the corners of pixels
    assert "0.25 µm/px" in result.rows[0].protocol


def test_foreground_alone_gives_pixel_dice_alone():
    case = nuclei_case()
    wet = FakeCase("a", "g", case.pixels, 0.5, {"nuclei": lambda: Labelled(foreground=squares() > 0)})
    result = evaluate(Echo([case]), [wet], look=LOOK)
    assert [(row.metric, row.value) for row in result.rows] == [("dice", 1.0)]


def test_points_give_detection_and_classes():
    case = nuclei_case()
    labels, names = squares(), case.labels["nuclei"]().classes
    xy = scoring.centroids(labels, np.arange(1, 17))
    xy[0] += 4.0  # with the 1.5 below: 3.9 µm from its own nucleus, and farther from others
    kinds = tuple("" if i == 2 else names[i] for i in range(1, 17))
    points = Labelled(points=xy + 1.5, point_classes=kinds, known=np.ones(labels.shape, bool))
    dotted = FakeCase("a", "g", case.pixels, 0.5, {"nuclei": lambda: points})
    result = evaluate(Echo([case]), [dotted], look=LOOK)
    assert {row.metric for row in result.rows} >= {"f_d", "accuracy", "balanced_accuracy"}
    assert value(result, "f_d") == pytest.approx(15 / 16)
    assert value(result, "accuracy") == 1.0
    assert "pq" not in {row.metric for row in result.rows}


def boxed(name, boxes, exhaustive):
    blank = np.full((64, 64, 3), 240 + len(boxes), np.uint8)
    blank[0, 0] = len(name)
    labelled = Labelled(boxes=np.array(boxes, float).reshape(-1, 4), exhaustive=exhaustive)
    return FakeCase(name, name, blank, 0.5, {"nuclei": lambda: labelled})


class Boxes:
    """Finds two squares, the second with half the score, whatever it sees."""

    name = "boxes"
    tasks = (replace(get_task("nuclei"), classes=None),)

    def predict(self, image, *, mpp):
        labels = np.zeros((64, 64), np.int32)
        labels[10:20, 10:20], labels[40:50, 40:50] = 1, 2
        score = np.where(labels == 2, 100, 200).astype(np.uint8)[..., None]
        frame = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=64, height=64)
        return floors.Found({"nuclei": decoding.objects_from_labels(labels, score=score, classes=None, frame=frame)})


def test_boxes_that_are_not_exhaustive_give_froc_alone():
    cases = [boxed("some", [(10, 10, 20, 20), (0, 50, 9, 60)], False), boxed("none", [], True)]
    result = evaluate(Boxes(), cases, look=LOOK)
    # One false positive a normal image leaves the first square only: half of the boxes; two allow both, no more boxes.
    assert value(result, "froc") == 0.5 and value(result, "recall") == 0.5 and value(result, "normal_fp") == 1.0
    assert (result.figure("nuclei", "froc").images, result.figure("nuclei", "froc").objects) == (2, 2)
    # On the normal image, which is known throughout, both are false.
    assert result.figure("nuclei", "f_d").images == 1 and value(result, "f_d") == 0.0


def test_exhaustive_boxes_give_precision_too():
    result = evaluate(Boxes(), [boxed("all", [(10, 10, 20, 20), (40, 40, 52, 52)], True)], look=LOOK)
    assert value(result, "f_d") == 1.0 and value(result, "ap") == 1.0
    assert np.isnan(value(result, "froc")), "without a normal image there is none"
    loose = evaluate(Boxes(), [boxed("loose", [(10, 10, 20, 20), (40, 40, 57, 57)], True)], look=LOOK)
    assert value(loose, "f_d") == 1.0 and value(loose, "ap") == 0.5, "IoU 0.35 finds a box, but is no hit for AP"


def test_strata_stand_beside_the_pooled_figures_if_asked():
    cases = [
        replace(nuclei_case("a", "g1", 0), stratum="benign"),
        replace(nuclei_case("b", "g2", 1), stratum="malignant"),
    ]

    def spoil(labels, names):
        return labels * (sum(name == "epithelial" for name in names.values()) % 2), names

    plain = evaluate(Echo(cases, spoil=spoil), cases, look=LOOK)
    apart = evaluate(Echo(cases, spoil=spoil), cases, look=replace(LOOK, by_stratum=True))
    assert plain.rows == tuple(row for row in apart.rows if not row.stratum)
    by_stratum = {stratum: apart.figure("nuclei", "pq", stratum=stratum) for stratum in ("benign", "malignant")}
    assert {row.images for row in by_stratum.values()} == {1}
    for case in cases:
        alone = evaluate(Echo(cases, spoil=spoil), [case], look=LOOK)
        assert by_stratum[case.stratum].value == value(alone, "pq")


def test_what_is_found_on_an_object_of_unknown_class_counts_for_no_class():
    case = nuclei_case()
    labels, names = squares(), dict(case.labels["nuclei"]().classes)
    known = {i: name for i, name in names.items() if i > 4}
    some = FakeCase("a", "g", case.pixels, 0.5, {"nuclei": lambda: Labelled(objects=labels, classes=known)})
    result = evaluate(Echo([case]), [some], look=LOOK)
    for metric in ("mpq", "mpq_plus", "map", "f1/epithelial", "pq/inflammatory"):
        assert value(result, metric) == 1.0, metric
    assert result.figure("nuclei", "mpq_plus").objects == 12


class TissueModel:
    name = "tissue"
    tasks = (get_task("tissue"),)

    def predict(self, image, *, mpp):
        raster = np.zeros((4, 4, len(self.tasks[0].class_names)), np.uint8)
        raster[:3, :3, int(image[0, 0, 0])] = 255
        raster[0, :2, 0] = 200
        raster[0, :2, 1:] = 0
        return floors.Found({}, {"tissue": raster})


def test_tiles_are_the_commonest_class_of_their_cells():
    names = get_task("tissue").class_names

    def tile(i, said, truth):
        raster = np.ones((4, 4), np.int32)
        return FakeCase(
            f"t{i}",
            f"g{i}",
            np.full((64, 64, 3), said, np.uint8),
            1.0,
            {"tissue": lambda: Labelled(raster=raster, raster_names=(names[truth],))},
        )

    cases = [tile(0, 3, 3), tile(1, 3, 3), tile(2, 5, 5), tile(3, 5, 8)]
    result = evaluate(TissueModel(), cases, look=LOOK)
    assert value(result, "accuracy") == 0.75
    assert value(result, "balanced_accuracy") == pytest.approx(2 / 3)
    assert value(result, "accuracy", "majority class") == 0.5
    assert {row.metric for row in result.rows} == {"accuracy", "balanced_accuracy", "weighted_f1", "auc", "ece_class"}


def gland_image():
    """Two dark rings with a bright hollow on a pink ground, at 1 µm per pixel."""
    y, x = np.mgrid[0:160, 0:240]
    labels, hollow = np.zeros((160, 240), np.int32), np.zeros((160, 240), bool)
    for i, centre in enumerate((60, 180), start=1):
        far = np.hypot(y - 80, x - centre)
        labels[far < 45] = i
        hollow |= far < 20
    image = np.full((160, 240, 3), (235, 170, 200), np.uint8)
    image[labels > 0] = (110, 60, 150)
    image[hollow] = 250
    return image, labels, hollow


def test_threshold_floor_finds_drawn_glands_and_is_scored_as_a_model_is():
    image, labels, _ = gland_image()
    grades = {1: "benign", 2: "malignant"}
    case = FakeCase("a", "g", image, 1.0, {"glands": lambda: Labelled(objects=labels, classes=grades)})
    result = evaluate(floors.ThresholdFloor(), [case], tasks=("glands",), look=LOOK)
    assert value(result, "object_f1") == 1.0
    assert value(result, "object_dice") > 0.95
    assert value(result, "object_hausdorff_px") < 8
    assert result.figure("glands", "accuracy") is None  # it says nothing of classes
    blank = floors.ThresholdFloor().predict(np.full((40, 40, 3), 240, np.uint8), mpp=1.0)
    assert len(blank.objects["glands"]) == 0


class HollowModel:
    name = "hollow"
    tasks = (get_task("lumina"), get_task("glands"))

    def __init__(self, hollow, glands):
        self.hollow, self.glands = hollow, glands

    def predict(self, image, *, mpp):
        found = {"lumina": objects_of(decoding.components(self.hollow)[0], None, self.tasks[0], mpp)}
        found["glands"] = objects_of(self.glands, None, self.tasks[1], mpp)
        return floors.Found(found)


def test_lumina_are_scored_against_bright_places_in_glands():
    image, labels, hollow = gland_image()
    image[:20, :20] = 250  # bright, but in no gland
    case = FakeCase("a", "g", image, 1.0, {"glands": lambda: Labelled(objects=labels)})
    result = evaluate(HollowModel(hollow, labels), [case], look=LOOK)
    good = result.figure("lumina", "bright_dice")
    assert good is not None and good.value > 0.93 and "no lumina are drawn" in good.protocol
    nothing = evaluate(HollowModel(np.zeros_like(hollow), labels), [case], look=LOOK)
    assert nothing.figure("lumina", "bright_dice").value == 0.0


def test_logistic_colours_separate_what_a_line_separates():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6))
    truth = (x[:, 0] > 0.3).astype(int)
    weight, bias = floors._logistic(x, truth, 2)
    assert ((x @ weight + bias).argmax(axis=1) == truth).mean() > 0.97


def test_coarse_truth_takes_found_leaves_together():
    task = replace(
        get_task("nuclei"), classes=ClassTree.of({"epithelial": (), "inflammatory": ("lymphocyte", "plasma")})
    )
    names = ("epithelial", "inflammatory")
    # 60 + 60 beat 90; 12 beats 5 + 5; nothing said is no class
    sums, said = scoring.at_depth(np.array([[90, 60, 60], [12, 5, 5], [0, 0, 0]], np.uint8), names, task)
    assert sums.tolist() == [[90, 120], [12, 10], [0, 0]] and said.tolist() == [1, 0, -1]


def test_unknown_task_is_refused_and_progress_is_told():
    case, told = nuclei_case(), []
    with pytest.raises(UsageError, match="choose from: nuclei"):
        evaluate(Echo([case]), [case], tasks=("glands",))
    evaluate(Echo([case]), [case], look=LOOK, tell=told.append)
    assert [type(event) for event in told] == [events.Started, events.Advanced, events.Finished]


def test_document_is_json_and_table_has_every_row(tmp_path):
    case = nuclei_case()
    result = evaluate(Echo([case]), [case], look=Look(source="made", seen=overlays(tmp_path / "out")))
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert len(document["rows"]) == len(result.rows)
    assert document["rows"][0]["low"] is None  # one group: no interval
    text = table(result.rows)
    assert len([line for line in text.splitlines() if line.startswith("made")]) == len(result.rows)
    assert (tmp_path / "out" / "a_nuclei.jpg").stat().st_size > 0


def test_cases_are_chosen_by_name_and_group():
    cases = [nuclei_case("testA_1", "1"), nuclei_case("testA_2", "2"), nuclei_case("train_1", "1")]
    assert [c.name for c in command.choose(cases, only="testA", groups="1", where="x")] == ["testA_1"]
    with pytest.raises(UsageError, match="--only nothing"):
        command.choose(cases, only="nothing", groups="", where="x")


def test_command_prints_the_table_and_writes_json(tmp_path, monkeypatch, capsys):
    cases = [nuclei_case("testA_1", "1", 0), nuclei_case("testA_2", "2", 1), nuclei_case("train_1", "3", 2)]
    source = SimpleNamespace(cases=lambda root: iter(cases))
    monkeypatch.setitem(sys.modules, "geryon.train.source", SimpleNamespace(SOURCES={"made": "x:y"}))
    monkeypatch.setitem(sys.modules, "geryon.nets.model", SimpleNamespace(load_model=lambda name, engine: Echo(cases)))
    find = plugins.find
    monkeypatch.setattr(plugins, "find", lambda t, group, name: source if name == "made" else find(t, group, name))
    file = tmp_path / "figures.json"
    asked = ["echo", "--source", "made", "--root", str(tmp_path), "--only", "testA", "--task", "nuclei"]
    assert command.run(parsed(*asked, "--json", str(file))) == 0
    printed, rows = capsys.readouterr().out, json.loads(file.read_text())["rows"]
    assert {row["images"] for row in rows} == {2}
    assert {row["by"] for row in rows} == {"model", "majority class", "colour, logistic", "colour, nearest centroid"}
    assert sum(line.startswith("made") for line in printed.splitlines()) == len(rows)


def parsed(*words):
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return parser.parse_args(list(words))


class Unsure(Echo):
    """An echo that is always right and says so with little certainty."""

    def predict(self, image, *, mpp):
        [(name, found)] = super().predict(image, mpp=mpp).objects.items()
        return floors.Found({name: replace(found, p=np.where(found.p == 255, 160, 13).astype(np.uint8))})


def test_command_calibrates_a_model_and_tells_before_and_after(tmp_path, monkeypatch, capsys):
    cases = [nuclei_case(f"testA_{i}", f"{i}", i) for i in range(12)]
    model = tmp_path / "m.safetensors"
    document = ModelDocument(name="m", version="1", topology="geryon-s", tasks=(TaskDocument(name="nuclei"),))
    weights.save_model(model, {"x.weight": np.zeros(2, np.float32)}, document)
    source = SimpleNamespace(cases=lambda root: iter(cases))
    find = plugins.find
    monkeypatch.setattr(plugins, "find", lambda t, group, name: source if name == "made" else find(t, group, name))
    monkeypatch.setattr("geryon.nets.model.load_model", lambda name, engine: Unsure(cases))
    out = tmp_path / "calibrated.safetensors"
    asked = [str(model), "--source", "made", "--root", str(tmp_path), "--calibrate"]
    assert command.run(parsed(*asked, str(out))) == 0
    printed = capsys.readouterr().out
    assert "ece_class" in printed and "calibrated by the other half of the groups" in printed
    [task] = weights.read_document(out).task_values()
    assert task.calibration.class_temperature < 1.0
    with pytest.raises(UsageError, match="a model file ends in .safetensors"):
        command.run(parsed(*asked, str(tmp_path / "x")))
    with pytest.raises(UsageError, match="a folder of results can't be calibrated"):
        command.run(parsed(str(tmp_path), *asked[1:], str(out)))


def test_command_scores_a_folder_of_results(tmp_path, monkeypatch, capsys):
    cases = [nuclei_case("a", "1", 0), nuclei_case("b", "2", 1)]
    for case in cases:
        np.save(tmp_path / f"{case.name}.npy", case.labels["nuclei"]().objects)
    source = SimpleNamespace(cases=lambda root: iter(cases))
    find = plugins.find
    monkeypatch.setattr(plugins, "find", lambda t, group, name: source if name == "made" else find(t, group, name))
    asked = [str(tmp_path), "--source", "made", "--root", str(tmp_path)]
    assert command.run(parsed(*asked)) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if " pq " in line)
    assert "1.000" in line
    with pytest.raises(UsageError, match="--classes is for folders of label maps"):
        command.run(parsed("geryon-s", *asked[1:], "--classes", "a"))
