"""The OpenVINO engine: the same network, compiled for this machine's processor.

docs/engines.md has what it takes beside torch. The graph is made with torch once and kept in the cache folder; after
that neither the graph's making nor torch is needed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.errors import GeryonError, MachineError, MissingPartError, UsageError
from geryon.nets.cores import has_amx, has_vnni, usable_cores
from geryon.nets.engine import MapsOfWindow
from geryon.nets.hub import cache_folder
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument, file_sha256
from geryon.space.boxes import Box

PREFIX = "__module.network."
"""Before the name of a layer in a graph made from a BytesNetwork."""
FILES = ("graph.bin", "graph.xml")
SUMS = "sums.json"
"""Beside a kept graph: the SHA-256 of its files."""
KEPT = 16
"""Graphs in the cache folder; when another comes, the oldest go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVinoEngine:
    """A compiled network with a stream and a request for each lane."""

    name: str
    lanes: int
    batch: int
    precision: str
    names: tuple[str, ...]
    requests: SimpleQueue[Any]

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        stacked = np.ascontiguousarray(images[0][None] if len(images) == 1 else np.stack(images))
        request = self.requests.get()
        try:
            request.infer([stacked], share_inputs=True)
            found = [request.get_output_tensor(i).data.copy() for i in range(len(self.names))]
        finally:
            self.requests.put(request)
        return [dict(zip(self.names, each, strict=True)) for each in zip(*found, strict=True)]


def open_openvino(
    document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]
) -> OpenVinoEngine:
    """In what this machine's processor is fastest in: bfloat16 where it has AMX, else eight bits where it has VNNI and
    the model knows its ranges, else float32."""
    if has_amx():
        return _engine(document, tensors, heads, "bfloat16")
    return _engine(document, tensors, heads, "int8" if has_vnni() and document.ranges else "float32")


def open_float32(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> OpenVinoEngine:
    """The same in float32 on every processor."""
    return _engine(document, tensors, heads, "float32")


def _engine(
    document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...], precision: str
) -> OpenVinoEngine:
    """One thread a lane, as many lanes as cores that may be used."""
    require()
    graph = _graph(document, tensors, heads)
    if precision == "int8" and not quantise(graph, document.ranges, PREFIX):
        precision = "float32"
    lanes = usable_cores()
    try:
        requests = requests_of(graph, precision, lanes)
    except Exception as error:  # its errors have no class of their own
        raise refusal(document.name, error) from error
    return OpenVinoEngine(
        name="openvino",
        lanes=lanes,
        batch=1,
        precision=precision,
        names=tuple(head.name for head in heads),
        requests=requests,
    )


def require() -> None:
    """MissingPartError without the package."""
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise MissingPartError(
            what="the engine openvino is not installed", mend="pip install openvino, or leave --engine out"
        ) from error


def requests_of(graph: Any, precision: str, lanes: int) -> SimpleQueue[Any]:
    """The graph compiled for this processor, as a stream of one thread and a request for each lane.

    The precision is said to OpenVINO, which would take bfloat16 on processors where it is slower.
    """
    import openvino

    settings = {
        "NUM_STREAMS": str(lanes),
        "INFERENCE_NUM_THREADS": lanes,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        # The lanes share their cores with those who read and decode.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(lanes):
        requests.put(compiled.create_infer_request())
    return requests


def _graph(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> Any:
    """The model's graph out of the cache folder, made and put there where it is not."""
    import openvino

    try:
        folder = cache_folder() / "openvino" / _digest(document, tensors, heads)
    except MachineError:  # no home folder
        return _made(document, tensors, heads)
    if _is_whole(folder):
        with suppress(Exception):  # of another build of OpenVINO: it is made anew
            return openvino.Core().read_model(folder / "graph.xml")
    graph = _made(document, tensors, heads)
    try:
        _keep(graph, folder)
    except (GeryonError, OSError, RuntimeError) as error:
        text = (
            f"the graph of {document.name} can't be kept, and is made again at each start: {error}; set XDG_CACHE_HOME"
        )
        warnings.warn(text, stacklevel=2)
    return graph


def refusal(name: str, why: object) -> UsageError:
    """What is said of a network that OpenVINO does not take."""
    said = str(why).strip().splitlines()
    return UsageError(
        what=f"its network can't run in OpenVINO: {said[0] if said else type(why).__name__}",
        where=name,
        mend="choose --engine cpu",
    )


def quantise(graph: Any, ranges: Mapping[str, Sequence[float]], prefix: str) -> int:
    """Round the inputs and weights of the convolutions in `ranges` to eight bits, in place; how many there were.

    `prefix` is what the graph puts before the names of layers.

    That is written as OpenVINO's FakeQuantize; its compiler then computes them in integers. Inputs have 256 levels
    between their least and largest value, zero among them (borders are padded with it); weights 255 a channel.
    """
    from openvino import opset13

    rounded: dict[tuple[str, int], Any] = {}
    count = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        name = node.get_friendly_name().split("/")[0].removeprefix(prefix)
        weights = node.input_value(1)
        if name not in ranges or weights.get_node().get_type_name() != "Constant":
            continue
        source = node.input_value(0)
        key = source.get_node().get_friendly_name(), source.get_index()
        if key not in rounded:
            low, high = _with_zero(*ranges[name])
            rounded[key] = opset13.fake_quantize(source, low, high, low, high, 256)
        node.input(0).replace_source_output(rounded[key].output(0))
        values = np.array(weights.get_node().data, np.float32)
        most = np.maximum(np.abs(values).max(axis=(1, 2, 3), keepdims=True), np.float32(1e-9))
        scaled = opset13.fake_quantize(opset13.constant(values), -most, most, -most, most, 255)
        node.input(1).replace_source_output(scaled.output(0))
        count += 1
    graph.validate_nodes_and_infer_types()
    return count


def _with_zero(low: float, high: float) -> tuple[np.float32, np.float32]:
    """The range moved by less than a step so that zero is one of its 256 levels."""
    step = (high - low) / 255.0
    below = round(-low / step)
    return np.float32(-below * step), np.float32((255 - below) * step)


def _digest(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> str:
    """Of all that decides the graph: the model, what is asked of it, and the code and packages that make it."""
    made_by = {name: metadata.version(name) for name in ("openvino", "torch")}
    made_by |= {e.name: e.dist.version for e in metadata.entry_points(group="geryon.topologies") if e.dist}
    code = Path(__file__).parents[1]
    made_by |= {str(path.relative_to(code)): file_sha256(path) for path in sorted(code.rglob("*.py"))}
    told = {"document": asdict(document), "heads": [asdict(head) for head in heads], "by": made_by}
    total = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(np.ascontiguousarray(tensors[name]).data)
    return total.hexdigest()


def _made(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> Any:
    """The network as a graph of OpenVINO's.

    UsageError where the network can't be turned into one that answers alike at any size.
    """
    import openvino
    import torch

    from geryon.nets.alike import difference, example
    from geryon.nets.network import bytes_network

    network = bytes_network(document, tensors, heads)
    try:
        with torch.inference_mode():
            graph = graph_of(network, example(), (-1, -1, -1, 3))
            compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            differ = difference(network, lambda image: [np.asarray(found) for found in compiled([image]).values()])
    except Exception as error:  # its errors have no class of their own
        raise refusal(document.name, error) from error
    if differ:
        raise refusal(document.name, differ)
    return graph


def graph_of(network: Any, example: Any, shape: tuple[int, ...]) -> Any:
    """A torch network of one input as a graph of OpenVINO's, traced with `example`, for inputs of `shape` (-1: any).

    By its front end itself: `convert_model` would report its use home. What it gives must be checked.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is called deprecated
        decoder = TorchScriptPythonDecoder(network, example_input=(example,))  # the model loaded points to it
        graph = front.convert(front.load(decoder))
    graph.reshape(list(shape))
    return graph


def _keep(graph: Any, folder: Path) -> None:
    """The sums last: only with them a graph counts."""
    import openvino

    with tempfile.TemporaryDirectory() as made:
        openvino.save_model(graph, Path(made) / "graph.xml", compress_to_fp16=False)
        for name in FILES:
            with whole_file(folder / name) as fresh:
                shutil.copyfile(Path(made) / name, fresh)
        with whole_file(folder / SUMS) as fresh:
            fresh.write_text(json.dumps({name: file_sha256(Path(made) / name) for name in FILES}), encoding="utf-8")
    others = sorted((f for f in folder.parent.iterdir() if f != folder), key=lambda f: f.stat().st_mtime)
    for old in others[: 1 - KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        return all(file_sha256(folder / name) == sums[name] for name in FILES)
    except (OSError, ValueError, KeyError):
        return False
