"""The OpenVINO engine: the same network, compiled for this machine's processor.

Its convolutions take about 0.6 of torch's time in float32 on processors with AVX-512 (docs/engines.md). The graph is
made with torch once and kept in the cache folder; after that neither the graph's making nor torch is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
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

from geryon.errors import MissingPartError, UsageError
from geryon.nets.cores import has_amx, usable_cores
from geryon.nets.engine import MapsOfWindow
from geryon.nets.hub import cache_folder
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument
from geryon.space.boxes import Box

EXAMPLE_PX = 128
"""Side of the picture that the graph is traced with; any side will do afterwards."""
CHECKED_PX = ((192, 320), (64, 96))
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
    """On this machine's processors: one thread a lane, as many lanes as cores that may be used.

    bfloat16 is taken only where the processor multiplies it in tiles (AMX); OpenVINO itself would take it on others
    too. MissingPartError where the package is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingPartError(
            what="the engine openvino is not installed", mend="pip install openvino, or leave --engine out"
        ) from error
    lanes, precision = usable_cores(), "bf16" if has_amx() else "f32"
    compiled = openvino.Core().compile_model(
        _graph(document, tensors, heads),
        "CPU",
        {
            "NUM_STREAMS": str(lanes),
            "INFERENCE_NUM_THREADS": lanes,
            "INFERENCE_PRECISION_HINT": precision,
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
        precision={"bf16": "bfloat16", "f32": "float32"}[precision],
        names=tuple(head.name for head in heads),
        requests=requests,
    )


def _graph(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> Any:
    """The model's graph out of the cache folder, made and put there where it is not."""
    import openvino

    folder = cache_folder() / "openvino" / _digest(document, tensors, heads)
    if folder.exists():
        with suppress(RuntimeError):
            return openvino.Core().read_model(folder / "graph.xml")
        shutil.rmtree(folder, ignore_errors=True)  # broken
    graph = _made(document, tensors, heads)
    with suppress(OSError, RuntimeError):  # a cache that can't be written costs seconds at the next start
        _keep(graph, folder)
    return graph


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
    """Both files of a graph appear together; where another process was first, its own stay."""
    import openvino

    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        openvino.save_model(graph, made / "graph.xml", compress_to_fp16=False)
        with suppress(OSError):
            os.rename(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
