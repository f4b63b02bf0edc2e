"""The whole path with the shipped network: demo, real tiny slides, and predict against segment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon.flows.demo import demo
from geryon.flows.segment import Options, segment
from geryon.nets.model import Model, load_model
from geryon.slides.synthetic import SyntheticSlide
from geryon.space.boxes import Box
from geryon.store.run import is_whole
from geryon.store.tables import read_objects
from tests.conftest import shared_folder


@pytest.fixture(scope="module")
def net() -> Model:
    return load_model("geryon-s", engine="cpu")


def test_the_demo_finds_objects_draws_them_and_is_not_done_twice(tmp_path: Path) -> None:
    done = demo(tmp_path, side_um=250.0, seed=7)
    assert done.record.tasks["nuclei"].objects > 30
    picture = cv2.imread(str(done.picture))
    assert picture is not None and picture.shape[2] == 3
    stamp = done.record.folder / "run.json"  # type: ignore[operator]
    before = stamp.stat().st_mtime_ns
    demo(tmp_path, side_um=250.0, seed=7)
    assert stamp.stat().st_mtime_ns == before


def test_nuclei_of_synthetic_tissue_are_mostly_found(net: Model) -> None:
    from geryon.tasks import decoding, metrics

    slide = SyntheticSlide(width_um=1000, height_um=1000, seed=5, malignant=0.5)
    box = Box(slide.frame, 512, 512, 1024, 1024)
    found = net.predict(slide.render(box), mpp=0.5).objects["nuclei"]
    truth = slide.truth("nuclei", box, 0.5).objects
    assert metrics.object_metric(decoding.labels_of(found, truth.shape), truth)["dq"] > 0.5


def test_predict_and_segment_say_the_same(net: Model, tmp_path: Path) -> None:
    slide = SyntheticSlide(width_um=300, height_um=260, seed=5)
    image = slide.render(slide.frame.box)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    record = segment(tmp_path / "a.png", out=tmp_path / "out", model=net, options=Options(mpp=0.5))
    objects = net.predict(image, mpp=0.5).objects
    assert {name: len(found) for name, found in objects.items()} == {
        name: record.tasks[name].objects for name in record.object_tasks
    }


@pytest.mark.parametrize("name", ["aperio/small.svs", "dicom_boxes/boxes_0.dcm"])
def test_tiny_real_files_go_through(net: Model, tmp_path: Path, name: str) -> None:
    record = segment(shared_folder("data", "wsi_small", name), out=tmp_path, model=net)
    assert is_whole(tmp_path / record.slide)
    assert read_objects(tmp_path / record.slide, "nuclei").num_rows == record.tasks["nuclei"].objects


def test_a_model_of_another_topology_is_refused(tmp_path: Path) -> None:
    from geryon.errors import InputError
    from geryon.nets.catalogue import find_model
    from geryon.nets.weights import read_document, read_tensors, save_model

    path = find_model("geryon-s")
    tensors = read_tensors(path)
    name = next(iter(tensors))
    save_model(tmp_path / "other.safetensors", {**tensors, name: np.zeros((3, 3), np.float32)}, read_document(path))
    with pytest.raises(InputError, match="do not fit the topology"):
        load_model(tmp_path / "other.safetensors")
