"""Models as ONNX files for other engines: bytes in, bytes out, compared with torch before they appear (extra onnx)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.errors import InputError, MissingPartError
from geryon.nets.catalogue import find_model
from geryon.nets.model import CELL_PX, HALO_PX, STEP_PX, choose, heads_of
from geryon.nets.weights import file_sha256, read_document, read_tensors

OPSET = 17
INPUT = "image"
EXAMPLE_PX = 128
"""Side of the picture that the network is traced with."""
CHECKED_PX = ((192, 320), (64, 96))
"""Heights and widths of the pictures that the file must answer as torch does."""
MOST_BYTES_OFF = 2
"""By which it may differ, where sums of thousands of terms are rounded in another order."""


def export_onnx(model: str | Path, path: Path, *, tasks: Sequence[str] | str | None = None) -> dict[str, Any]:
    """Write a model's network to `path` and return what is told of it in the file.

    Input `image`: uint8 [n, y, x, 3], RGB at `mpp`, y and x whole multiples of `multiple_px`. One output a map, named
    "task/map": uint8 [n, y / stride, x / stride, channel], probabilities times 255. The file's metadata hold all that
    as JSON under `geryon`. MissingPartError without the extra; InputError where the file does not answer as torch
    does: it is not written then.
    """
    onnx, onnxruntime, torch = _packages()
    from geryon.nets.network import bytes_network

    found = find_model(model)
    document = read_document(found)
    heads = heads_of(choose(document.task_values(), tasks), document.mpp)
    network = bytes_network(document, read_tensors(found), heads)
    told = {
        "mpp": document.mpp,
        "multiple_px": CELL_PX,
        "window_px": STEP_PX,
        "halo_px": HALO_PX,
        "maps": {
            name: {"channels": channels, "stride": head.stride, "activation": activation}
            for head, (name, channels, activation) in zip(heads, network.heads, strict=True)
        },
        "sha256": file_sha256(found),
        "document": asdict(document),
    }
    example = torch.zeros((1, EXAMPLE_PX, EXAMPLE_PX, 3), dtype=torch.uint8)
    free = {0: "n", 1: "y", 2: "x"}
    with whole_file(path) as fresh:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # tracing is called deprecated; what it gives is checked below
            torch.onnx.export(
                network,
                (example,),
                str(fresh),
                input_names=[INPUT],
                output_names=list(network.names),
                dynamic_axes={INPUT: free, **{n: {k: f"{v} of {n}" for k, v in free.items()} for n in network.names}},
                opset_version=OPSET,
                dynamo=False,
            )
        graph = onnx.load(str(fresh))
        onnx.helper.set_model_props(graph, {"geryon": json.dumps(told, sort_keys=True, allow_nan=False)})
        onnx.save(graph, str(fresh))
        _check(onnxruntime.InferenceSession(str(fresh), providers=["CPUExecutionProvider"]), network, document.name)
    return told


def _packages() -> tuple[Any, Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingPartError(
            what=f"ONNX files need the package {error.name}", mend='pip install "geryon[onnx]"'
        ) from error
    import torch

    return onnx, onnxruntime, torch


def _check(session: Any, network: Any, name: str) -> None:
    import torch

    for size in CHECKED_PX:
        image = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
        with torch.inference_mode():
            wanted = [value.numpy().astype(np.int16) for value in network(torch.from_numpy(image))]
        for head, value, other in zip(network.names, wanted, session.run(None, {INPUT: image}), strict=True):
            if other.shape != value.shape or int(np.abs(other - value).max(initial=0)) > MOST_BYTES_OFF:
                raise InputError(
                    what=f"as ONNX its map {head} of an image of {size[0]} x {size[1]} pixels comes out otherwise",
                    where=name,
                    mend="its topology depends on the image's size in a way that ONNX does not keep",
                )
