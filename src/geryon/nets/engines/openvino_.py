"""The OpenVINO engine: the same network, compiled for this machine's processor.

Its convolutions take about 0.6 of torch's time in float32 on processors with AVX-512 (docs/engines.md). The graph is
made with torch once and kept in the cache folder; after that neither the graph's making nor torch is needed.
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
from geryon.errors import GeryonError, MissingPartError, UsageError
from geryon.nets.cores import has_amx, has_vnni, usable_cores
from geryon.nets.engine import MapsOfWindow
from geryon.nets.hub import cache_folder
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument
from geryon.space.boxes import Box

PREFIX = "__module.network."
"""Before the name of a layer in a graph made from a BytesNetwork."""
EXAMPLE_PX = 256
"""Side of the picture that the graph is traced with; any side will do afterwards."""
CHECKED_PX = ((320, 256), (256, 448))
"""Heights and widths of the pictures that the graph must answer as torch does."""
MOST_BYTES_OFF = 2
"""By which it may differ on noise, where sums of thousands of terms are rounded in another order."""


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
    """One thread a lane, as many lanes as cores that may be used. MissingPartError without the package.

    The precision is said to OpenVINO, which would take bfloat16 on processors where it is slower.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingPartError(
            what="the engine openvino is not installed", mend="pip install openvino, or leave --engine out"
        ) from error
    lanes, graph = usable_cores(), _graph(document, tensors, heads)
    if precision == "int8":
        _quantise(graph, document.ranges)
    compiled = openvino.Core().compile_model(
        graph,
        "CPU",
        {
            "NUM_STREAMS": str(lanes),
            "INFERENCE_NUM_THREADS": lanes,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            # The lanes share their cores with those who read and decode.
            "ENABLE_CPU_PINNING": False,
        },
    )
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(lanes):
        requests.put(compiled.create_infer_request())
    return OpenVinoEngine(
        name="openvino",
        lanes=lanes,
        batch=1,
        precision=precision,
        names=tuple(head.name for head in heads),
        requests=requests,
    )


def _graph(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> Any:
    """The model's graph out of the cache folder, made and put there where it is not."""
    import openvino

    folder = cache_folder() / "openvino" / _digest(document, tensors, heads)
    if (folder / "graph.xml").exists():
        with suppress(RuntimeError):  # broken: it is made anew
            return openvino.Core().read_model(folder / "graph.xml")
    graph = _made(document, tensors, heads)
    with suppress(GeryonError, OSError, RuntimeError):  # a cache that can't be written costs seconds at the next start
        _keep(graph, folder)
    return graph


def _quantise(graph: Any, ranges: Mapping[str, Sequence[float]]) -> None:
    """Round the inputs and weights of the convolutions in `ranges` to eight bits, in place.

    That is written as OpenVINO's FakeQuantize; its compiler then computes them in integers. Inputs have 256 levels
    between their least and largest value, zero among them (borders are padded with it); weights 255 a channel.
    """
    from openvino import opset13

    rounded: dict[tuple[str, int], Any] = {}
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        name = node.get_friendly_name().split("/")[0].removeprefix(PREFIX)
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
    graph.validate_nodes_and_infer_types()


def _with_zero(low: float, high: float) -> tuple[np.float32, np.float32]:
    """The range moved by less than a step so that zero is one of its 256 levels."""
    step = (high - low) / 255.0
    below = round(-low / step)
    return np.float32(-below * step), np.float32((255 - below) * step)


def _digest(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> str:
    """Of all that decides the graph: the model, what is asked of it, and the packages that make it."""
    parts = ("geryon", "openvino", "torch")
    made_by = {name: metadata.version(name) for name in parts}
    told = {"document": asdict(document), "heads": [asdict(head) for head in heads], "by": made_by}
    sum_ = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for name in sorted(tensors):
        sum_.update(name.encode())
        sum_.update(np.ascontiguousarray(tensors[name]).data)
    return sum_.hexdigest()


def _made(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> Any:
    """The network as a graph of OpenVINO's, by its front end itself: `convert_model` would report its use home.

    UsageError where the network can't be turned into one that answers alike at any size.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from geryon.nets.network import bytes_network

    network = bytes_network(document, tensors, heads)
    example = torch.zeros((1, EXAMPLE_PX, EXAMPLE_PX, 3), dtype=torch.uint8)
    front = FrontEndManager().load_by_framework("pytorch")
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is called deprecated; what it gives is checked below
            decoder = TorchScriptPythonDecoder(network, example_input=(example,))  # the model loaded points to it
            graph = front.convert(front.load(decoder))
        graph.reshape([-1, -1, -1, 3])
        differ = _difference(graph, network)
    except RuntimeError as error:
        differ = str(error).strip().splitlines()[0]
    if differ:
        raise UsageError(
            what=f"its network can't run in OpenVINO: {differ}", where=document.name, mend="choose --engine cpu"
        )
    return graph


def _difference(graph: Any, network: Any) -> str:
    """What the graph answers otherwise than torch on images of sizes it was not traced with; "" where nothing."""
    import openvino
    import torch

    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for size in CHECKED_PX:
        image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
        found = compiled([image])
        with torch.inference_mode():
            true = network(torch.from_numpy(image))
        for i, (name, value) in enumerate(zip(network.names, true, strict=True)):
            other, value = np.asarray(found[i], np.int16), value.numpy().astype(np.int16)
            if other.shape != value.shape or int(np.abs(other - value).max(initial=0)) > MOST_BYTES_OFF:
                return f"the map {name} of an image of {size[0]} x {size[1]} pixels comes out otherwise"
    return ""


def _keep(graph: Any, folder: Path) -> None:
    """The list of layers last, since a start looks for it."""
    import openvino

    with tempfile.TemporaryDirectory() as made:
        openvino.save_model(graph, Path(made) / "graph.xml", compress_to_fp16=False)
        for name in ("graph.bin", "graph.xml"):
            with whole_file(folder / name) as fresh:
                shutil.copyfile(Path(made) / name, fresh)
