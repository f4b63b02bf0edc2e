"""Temperatures come back, are worth something on other groups, travel in the model file and reach every output."""

from dataclasses import replace

import numpy as np
import pytest

from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment_slide
from geryon.nets import weights
from geryon.nets.weights import ModelDocument, TaskDocument
from geryon.store.rasters import read_class_raster
from geryon.store.rows import stored_objects
from geryon.store.run import read_run
from geryon.tasks.calibration import Calibration, calibrated
from geryon.tasks.metrics import Tally
from geryon.tasks.task import ClassTree, get_task, with_classes
from geryon.train import calibration
from geryon.train.figures import figures_of, reliability_rows
from geryon.train.protocols import MODEL, UNCALIBRATED, About
from geryon.train.scoring import Matches, Piece
from tests.flows.world import make_world, oracle, slide_of

NAMES = ("epithelial", "inflammatory")
TASK = with_classes(get_task("nuclei"), ClassTree.flat(NAMES))
ABOUT = About(source="made", draws=50)


def piece(group, seed, n=400, heat=1.0):
    """Found nuclei whose true chance is known; what is said has its log odds divided by `heat`."""
    rng = np.random.default_rng(seed)
    odds, score_odds = rng.normal(0, 1.5, n), rng.normal(1, 1, n)
    is_first, is_there = rng.random(n) < sigmoid(odds), rng.random(n) < sigmoid(score_odds)
    found = np.flatnonzero(is_there)
    first = np.round(255 * sigmoid(odds / heat))
    return Piece(
        task=TASK,
        kind="points",
        group=group,
        tally=Tally(images=1, found=n, truth=len(found)),
        matches=Matches(
            score=np.round(255 * sigmoid(score_odds / heat + 0.7)).astype(np.uint8),
            p=np.stack([first, 255 - first], axis=1).astype(np.uint8),
            names=tuple(NAMES[0] if is_first[i] else NAMES[1] for i in found),
            pairs=np.stack([found, np.arange(len(found))], axis=1),
        ),
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def ece(rows, metric, by=MODEL):
    return next(row.value for row in rows if (row.metric, row.by) == (metric, by))


def test_the_temperature_that_spoiled_the_probabilities_comes_back():
    pieces = [piece(f"g{i}", i, heat=0.5) for i in range(8)]
    found = calibration.fit_calibrations(pieces)["nuclei"]
    assert found.class_temperature == pytest.approx(2.0, rel=0.15)
    assert found.score_temperature == pytest.approx(2.0, rel=0.15)
    assert found.score_shift == pytest.approx(-0.7 / 2, abs=0.15)


def test_what_it_is_worth_is_told_on_groups_that_did_not_fit_it():
    pieces = [piece(f"g{i}", i, heat=0.4) for i in range(8)]
    before, after = reliability_rows(pieces, ABOUT), calibration.worth(pieces, ABOUT)
    for metric in ("ece_score", "ece_class"):
        assert ece(before, metric) > 0.08
        assert ece(after, metric, calibration.CROSS_FITTED) < 0.04
    crossed = calibration.cross_fitted(pieces)
    by_calibration = {
        p.task.calibration: {q.group for q in crossed if q.task.calibration == p.task.calibration} for p in crossed
    }
    assert len(by_calibration) == 2, "each half has the calibration of the other"
    for fitted, groups in by_calibration.items():
        others = [p for p in pieces if p.group not in groups]
        assert calibration.fit_calibrations(others)["nuclei"] == fitted


def test_too_little_fits_nothing():
    assert calibration.fit_calibrations([piece("g", 0, n=20)]) == {}
    assert calibration.worth([piece("one", 0)], ABOUT) == [], "one group can't be cut into halves"


def test_a_calibrated_task_is_told_before_and_after_and_ranks_as_before():
    pieces = [piece(f"g{i}", i, heat=0.4) for i in range(4)]
    plain = figures_of(pieces, ABOUT)
    rows = figures_of(calibration.with_calibrations(pieces, calibration.fit_calibrations(pieces)), ABOUT)
    for metric in ("ece_score", "ece_class"):
        assert ece(rows, metric, UNCALIBRATED) == ece(plain, metric)
        assert ece(rows, metric) < 0.5 * ece(plain, metric)
    for metric in ("f_d", "accuracy", "balanced_accuracy", "f1/epithelial"):
        assert ece(rows, metric) == ece(plain, metric)


def test_the_model_file_carries_it_and_the_weights_stay(tmp_path):
    document = ModelDocument(name="m", version="1", topology="geryon-s", tasks=(TaskDocument(name="nuclei"),))
    weights.save_model(tmp_path / "a.safetensors", {"x.weight": np.arange(4, dtype=np.float32)}, document)
    found = {"nuclei": Calibration(class_temperature=1.5, score_temperature=2.0, score_shift=-0.25)}
    calibration.save_calibrated(tmp_path / "a.safetensors", tmp_path / "b.safetensors", found, "consep, img_1")
    back = weights.read_document(tmp_path / "b.safetensors")
    [task] = back.task_values()
    assert task.calibration == found["nuclei"] and back.training["calibrated_on"] == "consep, img_1"
    before, after = (weights.read_tensors(tmp_path / f"{name}.safetensors") for name in "ab")
    assert np.array_equal(before["x.weight"], after["x.weight"])
    assert "| nuclei | 1.5 | 2 | -0.25 |" in (tmp_path / "b.md").read_text(encoding="utf-8")


def test_all_that_is_stored_is_calibrated_and_nothing_else_changes(tmp_path):
    world = make_world(700, 500, nuclei=60, glands=5)
    heat = Calibration(class_temperature=3.0, score_temperature=2.0, score_shift=-1.0)
    plain = oracle(world)
    warm = replace(plain, tasks=tuple(replace(task, calibration=heat) for task in plain.tasks))
    image = np.full((*world.shape, 3), 200, np.uint8)
    seen = {net: net_model.predict(image, 0.5) for net, net_model in (("plain", plain), ("warm", warm))}
    records = {}
    for name, net in (("plain", plain), ("warm", warm)):
        options = Options(cutting=Cutting(window_px=512, halo_px=32, tile_px=512))
        segment_slide(slide_of(world), net, tmp_path / name, options=options, tell=lambda event: None)
        records[name] = read_run(tmp_path / name)
    for task in ("nuclei", "glands", "lumina"):
        stored = {name: stored_objects(record, task) for name, record in records.items()}
        for before, after in (
            (seen["plain"].objects[task], seen["warm"].objects[task]),
            (stored["plain"], stored["warm"]),
        ):
            expected = calibrated(before, heat)
            assert len(after) and np.array_equal(after.score, expected.score) and np.array_equal(after.p, expected.p)
            assert np.array_equal(after.outlines.points, before.outlines.points)
            assert not np.array_equal(after.score, before.score)
    rasters = {name: read_class_raster(record.paths["tissue"]) for name, record in records.items()}
    assert np.array_equal(rasters["warm"].p, calibrated(rasters["plain"].p, heat))
    assert np.array_equal(rasters["warm"].classes, rasters["plain"].classes)
    assert np.array_equal(seen["warm"].rasters["tissue"], calibrated(seen["plain"].rasters["tissue"], heat))
