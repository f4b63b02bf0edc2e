"""Models as ONNX files for other engines: bytes in, bytes out, compared with torch before they appear (extra onnx)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geryon.atomic import whole_file
from geryon.errors import InputError, MissingPartError
from geryon.nets.catalogue import find_model
from geryon.nets.model import CELL_PX, choose, heads_of, warn_of_terms, window_sizes
from geryon.nets.weights import file_sha256, read_document, read_tensors

OPSET = 17
INPUT = "image"


def export_onnx(model: str | Path, path: Path, *, tasks: Sequence[str] | str | None = None) -> dict[str, Any]:
    """Write a model's network to `path` and return what is told of it in the file.

    Input `image`: uint8 [n, y, x, 3], RGB at `mpp`, y and x whole multiples of `multiple_px`. One output a map, named
    "task/map": uint8 [n, y / stride, x / stride, channel], probabilities times 255. The file's metadata hold all that
    as JSON under `geryon`. MissingPartError without the extra; InputError where the file does not answer as torch
    does: it is not written then.
    """
    onnx, onnxruntime, torch = _packages()
    from geryon.nets.alike import difference, example
    from geryon.nets.network import bytes_network

    found = find_model(model)
    document = read_document(found)
    warn_of_terms(document)
    heads = heads_of(choose(document.task_values(), tasks), document.mpp)
    network = bytes_network(document, read_tensors(found), heads)
    window_px, halo_px = window_sizes(document, "default")
    told = {
        "mpp": document.mpp,
        "multiple_px": CELL_PX,
        "window_px": window_px,
        "halo_px": halo_px,
        "maps": {
            name: {"channels": channels, "stride": head.stride, "activation": activation}
            for head, (name, channels, activation) in zip(heads, network.heads, strict=True)
        },
        "sha256": file_sha256(found),
        "document": asdict(document),
    }
    free = {
        name: {k: f"{side} of {name}" for k, side in enumerate(("n", "y", "x"))} for name in (INPUT, *network.names)
    }
    with whole_file(path) as fresh:
        try:
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")  # tracing is called deprecated; what it gives is checked below
                torch.onnx.export(
                    network,
                    (example(),),
                    str(fresh),
                    input_names=[INPUT],
                    output_names=list(network.names),
                    dynamic_axes=free,
                    opset_version=OPSET,
                    dynamo=False,
                )
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            raise _refusal(document.name, str(error).strip().splitlines()[0]) from error
        graph = onnx.load(str(fresh))
        onnx.helper.set_model_props(graph, {"geryon": json.dumps(told, sort_keys=True, allow_nan=False)})
        onnx.save(graph, str(fresh))
        session = onnxruntime.InferenceSession(str(fresh), providers=["CPUExecutionProvider"])
        differ = difference(network, lambda image: session.run(None, {INPUT: image}))
        if differ:
            raise _refusal(document.name, differ)
    return told


def _refusal(name: str, why: str) -> InputError:
    return InputError(
        what=f"can't be written as ONNX: {why}",
        where=name,
        mend="its topology holds something that ONNX does not keep; run it with Geryon",
    )


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
