"""A folder of results is scored as the model that made it, and label maps of other tools pixel by pixel."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from geryon.errors import InputError, UsageError
from geryon.flows.segment import Options, segment_slide
from geryon.tasks.task import Labelled
from geryon.train.evaluate import Look, evaluate
from geryon.train.results import open_results
from tests.flows.world import MPP, make_world, oracle, slide_of

LOOK = Look(source="made", draws=20)


@dataclass(frozen=True)
class FakeCase:
    name: str
    pixels: np.ndarray
    labels: dict = field(default_factory=dict)
    group: str = "g"
    mpp: float = MPP

    def image(self):
        return self.pixels


def dots(seed=0, n=12):
    rng = np.random.default_rng(seed)
    labels = np.zeros((90, 120), np.int32)
    for i in range(1, n + 1):
        cv2.circle(labels, (int(rng.integers(5, 115)), int(rng.integers(5, 85))), 5, i, -1)
    return labels


def dotted(name="a", labels=None, kinds=None):
    labels = dots() if labels is None else labels
    kinds = kinds or {int(i): ("epithelial", "inflammatory")[i % 2] for i in np.unique(labels[labels > 0])}
    image = np.zeros((*labels.shape, 3), np.uint8)
    return FakeCase(name, image, {"nuclei": lambda: Labelled(objects=labels, classes=kinds)})


def value(result, metric, task="nuclei"):
    row = result.figure(task, metric)
    assert row is not None, metric
    return row.value


def test_a_run_is_scored_by_what_it_stored(tmp_path):
    world = make_world(700, 500, nuclei=60, glands=5)
    net = oracle(world)
    segment_slide(slide_of(world, "b"), net, tmp_path / "b", options=Options(), tell=lambda event: None)
    image = np.full((*world.shape, 3), 200, np.uint8)
    labels = {"nuclei": lambda: Labelled(objects=world.maps["nuclei"], classes=world.classes["nuclei"])}
    names = tuple(task for task in net.tasks if task.name == "tissue")[0].class_names
    labels["tissue"] = lambda: Labelled(raster=world.maps["tissue"], raster_names=names)
    case = FakeCase("folder/b.png", image, labels)
    stored = open_results(tmp_path, [case], tasks=("nuclei", "tissue"))
    assert [task.name for task in stored.tasks] == ["nuclei", "tissue"]
    from_files, from_model = (
        evaluate(stored, [case], look=LOOK),
        evaluate(net, [case], tasks=("nuclei", "tissue"), look=LOOK),
    )
    for row in (row for row in from_model.rows if row.by == "model"):
        if row.metric.startswith("given_"):  # files hold what was found, not what is said elsewhere
            assert from_files.figure(row.task, row.metric) is None
            continue
        assert value(from_files, row.metric, row.task) == pytest.approx(row.value, abs=0.01, nan_ok=True), row.metric
    assert value(from_files, "pq") > 0.95 and value(from_files, "accuracy") == 1.0
    assert value(from_model, "given_accuracy") == 1.0


@pytest.mark.parametrize("ending", ["png", "npy", "mat"])
def test_label_maps_are_scored_pixel_by_pixel(tmp_path, ending):
    labels = dots()
    found = np.where(labels == 3, 0, labels)
    found[found == 5] = 900
    found[0, 0] = 900  # a second piece far off: it counts, though no outline can hold both
    if ending == "png":
        cv2.imwrite(str(tmp_path / "a.png"), found.astype(np.uint16))
    elif ending == "npy":
        np.save(tmp_path / "a.npy", found)
    else:
        savemat(tmp_path / "a.mat", {"inst_map": found.astype(float)})
    case = dotted(labels=labels)
    result = evaluate(open_results(tmp_path, [case]), [case], look=LOOK)
    n, area = len(np.unique(labels)) - 1, int((labels == 5).sum())
    assert value(result, "pq") == pytest.approx((n - 2 + area / (area + 1)) / (n - 0.5))
    assert value(result, "dice") == pytest.approx(
        2 * (found > 0)[labels > 0].sum() / ((found > 0).sum() + (labels > 0).sum())
    )
    assert result.figure("nuclei", "accuracy") is None or np.isnan(value(result, "accuracy"))
    assert result.figure("nuclei", "ece_score") is None, "who says nothing but 1 has no calibration"


def test_classes_of_label_maps_have_the_names_that_are_given(tmp_path):
    labels = dots()
    ids = np.unique(labels[labels > 0])
    case = dotted(labels=labels, kinds={int(i): "lymphocyte" if i % 2 else "epithelial" for i in ids})
    kinds = np.where(np.arange(1, ids.max() + 1) % 2, 2, 1)
    savemat(tmp_path / "a.mat", {"inst_map": labels, "inst_type": kinds[:, None]})
    names = ("epithelial", "lymphocyte")
    result = evaluate(open_results(tmp_path, [case], classes=names), [case], look=LOOK)
    assert value(result, "accuracy") == 1.0 and value(result, "mpq_plus") == 1.0
    (tmp_path / "a.mat").unlink()
    table = np.concatenate([[0], kinds[::-1] * 0 + 1])
    np.save(tmp_path / "a.npy", np.stack([labels, table[labels]], axis=2))
    result = evaluate(open_results(tmp_path, [case], classes=names), [case], look=LOOK)
    assert value(result, "accuracy") == pytest.approx(np.mean([i % 2 == 0 for i in ids]))
    with pytest.raises(UsageError, match="nuclei has no class tumour"):
        open_results(tmp_path, [case], classes=("tumour",))


def test_the_pieces_of_a_mask_are_its_objects(tmp_path):
    labels = np.zeros((40, 40), np.int32)
    labels[2:12, 2:12], labels[20:30, 20:30] = 1, 2
    cv2.imwrite(str(tmp_path / "a.png"), (labels > 0).astype(np.uint8) * 255)
    case = dotted(labels=labels)
    assert value(evaluate(open_results(tmp_path, [case]), [case], look=LOOK), "pq") == 1.0


def test_missing_results_are_named_all_at_once(tmp_path):
    np.save(tmp_path / "a.npy", dots())
    with pytest.raises(InputError, match=r"no result for 2 of 3 images: b, c") as caught:
        open_results(tmp_path, [dotted("a"), dotted("b"), dotted("c")])
    assert caught.value.exit_code == 3


def test_results_of_another_size_or_kind_are_refused(tmp_path):
    case = dotted()
    np.save(tmp_path / "a.npy", np.zeros((5, 6), np.int32))
    with pytest.raises(InputError, match="is of 6 x 5 pixels, the image of 120 x 90"):
        evaluate(open_results(tmp_path, [case]), [case], look=LOOK)
    np.save(tmp_path / "a.npy", np.zeros((90, 120, 3), np.int32))
    with pytest.raises(InputError, match="holds no label map"):
        evaluate(open_results(tmp_path, [case]), [case], look=LOOK)
    both = FakeCase("a", case.pixels, {**case.labels, "glands": case.labels["nuclei"]})
    with pytest.raises(UsageError, match="say which: --task NAME"):
        open_results(tmp_path, [both])
    assert [t.name for t in open_results(tmp_path, [both], tasks=["glands"]).tasks] == ["glands"]
