"""Eight bits: what convolutions see is measured, stands in the model's document, and answers stay what they were."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geryon.errors import InputError
from geryon.nets.engine import open_engine
from geryon.nets.engines import openvino_
from geryon.nets.ranges import ranges_of, spread
from geryon.nets.weights import read_document, save_model
from tests.nets.test_engines import HEADS, PLACE, images, model, shared_cache  # noqa: F401 (the fixture)

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the package openvino is not installed")


def with_ranges(net: str = "geryon-s") -> tuple[Any, dict[str, np.ndarray]]:
    document, tensors = model(net)
    return replace(document, ranges=ranges_of(document, tensors, HEADS, images(4, 96, 96))), tensors


def test_ranges_are_those_of_the_convolutions_that_the_topology_allows() -> None:
    document, _ = with_ranges()
    assert {name.split(".")[0] for name in document.ranges} == {"encoder", "blend", "hidden"}
    coarse = ("encoder.context", "out", "lateral", "down", "blend.2", "hidden.tissue")
    assert not any(name.startswith(coarse) for name in document.ranges)
    assert "encoder.fine.0.1" not in document.ranges, "three channels of an image gain nothing"
    assert all(low <= 0 < high for low, high in document.ranges.values())
    assert document.ranges["blend.0.1"][0] == 0, "behind a ReLU nothing is negative"


def test_ranges_are_means_over_the_images() -> None:
    document, tensors = model("geryon-s")
    one, other = images(1, 64, 64), images(1, 96, 96)
    of = [ranges_of(document, tensors, HEADS, chosen) for chosen in (one, other, one + other)]
    for name, (_, high) in of[2].items():
        assert high == pytest.approx((of[0][name][1] + of[1][name][1]) / 2, rel=2e-3)
    assert ranges_of(document, tensors, HEADS, [np.zeros((20, 20, 3), np.uint8)]) == {}, "too small to be seen"


def test_layers_that_see_nothing_finite_are_left_out() -> None:
    document, tensors = model("geryon-s")
    tensors["encoder.fine.0.1.weight"] = np.full_like(tensors["encoder.fine.0.1.weight"], np.inf)
    found = ranges_of(document, tensors, HEADS, images(1, 64, 64))
    assert all(np.isfinite(value).all() for value in found.values())


@needs_openvino
def test_ranges_of_no_layer_are_no_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_, "has_vnni", lambda: True)
    monkeypatch.setattr(openvino_, "has_amx", lambda: False)
    document, tensors = model("plain")
    strange = replace(document, ranges={"no.such.layer": (0.0, 1.0)})
    assert open_engine("openvino", strange, tensors, HEADS).precision == "float32"


def test_images_are_taken_evenly() -> None:
    assert spread(list(range(100)), 5) == [0, 25, 50, 74, 99]
    assert spread(list(range(3)), 5) == [0, 1, 2] and spread([], 5) == []


def test_ranges_stand_in_the_file_and_nonsense_is_refused(tmp_path: Path) -> None:
    document, tensors = with_ranges()
    path = tmp_path / "a.safetensors"
    save_model(path, tensors, document)
    assert {k: tuple(v) for k, v in read_document(path).ranges.items()} == document.ranges
    for nonsense in ((1.0, 0.5), (0.0, 10**400), (0.0, 5e-324), (-1e308, 1e308), ("0", 1.0), (0.0,)):
        save_model(path, tensors, replace(document, ranges={"blend.0.1": nonsense}))
        with pytest.raises(InputError, match=r"the range of blend.0.1 is .*, not two numbers around 0"):
            read_document(path)


@needs_openvino
@pytest.mark.parametrize("net", ["geryon-s", "geryon-b"])
def test_eight_bits_answer_nearly_as_float(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_, "has_vnni", lambda: True)
    monkeypatch.setattr(openvino_, "has_amx", lambda: False)
    document, tensors = with_ranges(net)
    fast, plain = (open_engine(name, document, tensors, HEADS) for name in ("openvino", "openvino-float32"))
    assert (fast.precision, plain.precision) == ("int8", "float32")
    asked = images(1, 96, 160)
    one, other = fast.maps(asked, [PLACE])[0], plain.maps(asked, [PLACE])[0]
    for name in one:
        off = np.abs(one[name].astype(int) - other[name].astype(int))
        assert off.mean() < 2.0, f"{name}: {off.mean()}"
    assert any((one[name] != other[name]).any() for name in one), "it was computed in eight bits"


@needs_openvino
@pytest.mark.parametrize(
    ("amx", "vnni", "ranges", "precision"),
    [(True, True, True, "bfloat16"), (False, True, True, "int8"), (False, True, False, "float32"),
     (False, False, True, "float32")],
)  # fmt: skip
def test_the_precision_is_what_the_processor_is_fast_in(
    amx: bool, vnni: bool, ranges: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_, "has_amx", lambda: amx)
    monkeypatch.setattr(openvino_, "has_vnni", lambda: vnni)
    document, tensors = with_ranges("plain")
    document = document if ranges else replace(document, ranges={})
    assert open_engine("openvino", document, tensors, HEADS).precision == precision


def test_zero_is_a_level() -> None:
    for low, high in ((0.0, 3.0), (-31.86, 36.14), (-0.001, 5.0)):
        new_low, new_high = (float(v) for v in openvino_._with_zero(low, high))
        step = (new_high - new_low) / 255
        assert abs(new_low / step - round(new_low / step)) < 1e-4
        assert abs(new_low - low) < step and abs(new_high - high) < step
