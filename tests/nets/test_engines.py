"""The contract of engines: whatever runs a network, its maps are those of torch."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geryon import plugins
from geryon.errors import MissingPartError, UsageError
from geryon.nets import engine as engines
from geryon.nets.engine import open_engine
from geryon.nets.model import heads_of, load_model
from geryon.nets.topologies import TOPOLOGIES, Head
from geryon.nets.weights import ModelDocument, task_document
from geryon.space.boxes import Box, Frame
from geryon.tasks.task import get_task

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the package openvino is not installed")
TASKS = [get_task(name) for name in ("nuclei", "glands", "lumina", "tissue")]
HEADS = heads_of(TASKS, 0.5)
NETS: dict[str, dict[str, Any]] = {
    "geryon-s": {"encoder": "hybrid", "fine": [4, 6], "decoder": [4, 6, 8, 8, 8]},
    "plain": {"encoder": "plain", "decoder": [4, 6, 8, 8, 8]},
    "geryon-b": {"fine": [4, 6], "decoder": [4, 6, 8, 8, 8], "branches": ["lumina"]},
}
PLACE = Box(Frame(name="work", mpp_x=0.5, mpp_y=0.5, width=9999, height=9999), 0, 0, 1, 1)


@pytest.fixture(autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache folder for all tests of a process: a graph takes seconds to make."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "graphs"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def model(net: str = "plain", heads: tuple[Head, ...] = HEADS) -> tuple[ModelDocument, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    settings, topology = NETS[net], "geryon-b" if net == "geryon-b" else "geryon-s"
    network = plugins.look_up(TOPOLOGIES, "geryon.topologies", topology)(settings, heads)
    document = ModelDocument(
        name="tiny",
        topology=topology,
        settings=settings,
        mpp=0.5,
        tasks=tuple(task_document(t) for t in TASKS),
        sources=(),
        use="open",
        version="0.1",
    )
    return document, {name: value.numpy() for name, value in network.state_dict().items()}


def images(count: int, height: int, width: int) -> list[np.ndarray]:
    drawn = np.random.default_rng(height).integers(0, 256, (count, height // 8, width // 8, 3), dtype=np.uint8)
    return [np.kron(image, np.ones((8, 8, 1), np.uint8)) for image in drawn]


def assert_alike(some: Any, others: Any) -> None:
    assert len(some) == len(others)
    for these, those in zip(some, others, strict=True):
        assert list(these) == list(those)
        for name, value in these.items():
            assert value.dtype == np.uint8 and value.shape == those[name].shape, name
            off = np.abs(value.astype(int) - those[name].astype(int))
            assert off.max() <= 1 and (off > 0).mean() < 0.01, f"{name}: {off.max()}, {(off > 0).mean()}"


@needs_openvino
@pytest.mark.parametrize("net", NETS)
def test_openvino_answers_as_torch_at_any_size(net: str) -> None:
    document, tensors = model(net)
    plain, fast = (open_engine(name, document, tensors, HEADS) for name in ("cpu", "openvino"))
    for count, height, width in ((1, 64, 64), (2, 96, 160), (1, 224, 32)):
        asked = images(count, height, width)
        assert_alike(fast.maps(asked, [PLACE] * count), plain.maps(asked, [PLACE] * count))


@needs_openvino
def test_the_shipped_model_answers_alike_on_tissue(shared: Path) -> None:
    import cv2

    path = sorted((shared / "data" / "glas").rglob("testA_1.jpg"))
    if not path:
        pytest.skip("GlaS is not in the folder shared")
    image = np.ascontiguousarray(cv2.imread(str(path[0]))[:416, :512, ::-1])
    found = [load_model("geryon-s", engine=name).maps([image], [PLACE]) for name in ("openvino-float32", "cpu")]
    assert_alike(*found)


@needs_openvino
def test_openvino_gives_what_is_asked_for_and_threads_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    document, tensors = model()
    heads = tuple(head for head in HEADS if head.name.startswith("nuclei/"))
    engine = open_engine("openvino", document, _only(tensors, heads), heads)
    asked = [images(1, 64, 32 * k)[0] for k in range(1, 9)]
    alone = [engine.maps([image], [PLACE])[0] for image in asked]
    assert set(alone[0]) == {"nuclei/inside", "nuclei/depth", "nuclei/class"}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: engine.maps([image], [PLACE])[0], asked))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def _only(tensors: dict[str, np.ndarray], heads: tuple[Head, ...]) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    kept = plugins.look_up(TOPOLOGIES, "geryon.topologies", "geryon-s")(NETS["plain"], heads).state_dict()
    return {name: tensors[name] for name in kept}


@needs_openvino
def test_the_graph_is_made_once_and_made_anew_where_it_is_broken(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geryon.nets.engines import openvino_

    document, tensors = model()
    made: list[str] = []
    make = openvino_._made
    monkeypatch.setattr(openvino_, "_made", lambda *args: made.append("") or make(*args))
    asked = images(1, 64, 64)
    first = open_engine("openvino", document, tensors, HEADS).maps(asked, [PLACE])
    again = open_engine("openvino", document, tensors, HEADS).maps(asked, [PLACE])
    assert len(made) == 1, "the second start reads the kept graph"
    assert all(np.array_equal(first[0][name], again[0][name]) for name in first[0])
    other = {name: value + 0.01 for name, value in tensors.items()}
    open_engine("openvino", document, other, HEADS)
    assert len(made) == 2, "other weights, another graph"
    for number, name in enumerate(("graph.xml", "graph.bin"), 3):
        for path in cache.rglob(name):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        broken = open_engine("openvino", document, tensors, HEADS).maps(asked, [PLACE])
        assert len(made) == number and all(np.array_equal(first[0][name], broken[0][name]) for name in first[0])
        open_engine("openvino", document, tensors, HEADS)
        assert len(made) == number, "the broken one was replaced"


@needs_openvino
def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    document, tensors = model()
    with pytest.warns(UserWarning, match="can't be kept, and is made again at each start"):
        assert open_engine("openvino", document, tensors, HEADS).maps(images(1, 64, 64), [PLACE])


@needs_openvino
def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    document, tensors = model()
    assert open_engine("openvino", document, tensors, HEADS).name == "openvino"


class Odd(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        values = torch.linalg.eigvals(x[:, 0, :4, :4] + torch.eye(4)).real
        return {"lumina/inside": x[:, :1] * 0.0 + values.sum()}


def odd(settings: Any, heads: Any) -> Odd:
    return Odd()


@needs_openvino
def test_what_openvino_does_not_know_runs_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "has_cuda_driver", lambda: False)
    monkeypatch.setitem(TOPOLOGIES, "odd", f"{__name__}:odd")
    document, head = replace(model()[0], topology="odd", settings={}), Head(name="lumina/inside", channels=1, stride=1)
    with pytest.raises(UsageError, match="can't run in OpenVINO") as error:
        open_engine("openvino", document, {}, (head,))
    assert "--engine cpu" in error.value.mend
    assert open_engine("auto", document, {}, (head,)).name == "cpu"


class Sized(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"lumina/inside": 0.0 * x[:, :1] + (int(x.shape[2]) - 256) / 32}


def sized(settings: Any, heads: Any) -> Sized:
    return Sized()


@needs_openvino
def test_a_network_that_depends_on_the_size_of_its_example_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Head(name="lumina/inside", channels=1, stride=1)
    monkeypatch.setitem(TOPOLOGIES, "sized", f"{__name__}:sized")
    document = replace(model()[0], topology="sized", settings={})
    with pytest.raises(UsageError, match="can't run in OpenVINO: its map lumina/inside of an image of"):
        open_engine("openvino", document, {}, (head,))
    assert open_engine("auto", document, {}, (head,)).name == "cpu", "auto takes what can run it"


def test_auto_takes_torch_where_there_is_nothing_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(engines, "has_cuda_driver", lambda: False)
    document, tensors = model()
    with pytest.raises(MissingPartError, match="openvino is not installed") as error:
        open_engine("openvino", document, tensors, HEADS)
    assert "pip install openvino" in error.value.mend
    assert open_engine("auto", document, tensors, HEADS).name == "cpu"


@needs_openvino
def test_auto_takes_openvino_and_a_kept_graph_needs_no_torch(cache: Path) -> None:
    code = """
import sys
from geryon.nets.model import load_model
engine = load_model("geryon-s", tasks="tissue").engine
print(engine.name, "torch" in sys.modules)
"""
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    names = [done.stdout.split()[0] for done in said]
    if names[0] == "cuda":
        pytest.skip("this machine has a card")
    assert names == ["openvino", "openvino"]
    assert said[1].stdout.split()[1] == "False"
