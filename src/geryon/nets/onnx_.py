"""Models and encoders as ONNX files for other engines, compared with torch before they appear (extra onnx)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.errors import InputError, MissingPartError
from geryon.nets.catalogue import find_model
from geryon.nets.encoder import encoder_weights
from geryon.nets.encoders.agreement import PATCHES, agrees, stained
from geryon.nets.model import CELL_PX, choose, heads_of, warn_of_terms, window_sizes
from geryon.nets.weights import ENCODER_KEY, KEY, file_sha256, read_document, read_tensors

OPSET = 17
INPUT, PATCH_INPUT, CODES = "image", "patches", "codes"


def export_onnx(model: str | Path, path: Path, *, tasks: Sequence[str] | str | None = None) -> dict[str, Any]:
    """Write a model's network to `path` and return what is told of it in the file.

    Input `image`: uint8 [n, y, x, 3], RGB at `mpp`, y and x whole multiples of `multiple_px`. One output a map, named
    "task/map": uint8 [n, y / stride, x / stride, channel], probabilities times 255. The file's metadata hold all that
    as JSON under `geryon`. MissingPartError without the extra; InputError where the file does not answer as torch
    does: it is not written then.
    """
    _packages()
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

    def differ(run: Run) -> str:
        return difference(network, lambda image: run({INPUT: image}))

    _write(path, network, _Asked(example=example(), free=free, told=told, differ=differ, name=document.name))
    return told


def export_encoder(encoder: str | Path, path: Path) -> dict[str, Any]:
    """Write an encoder's network to `path` and return what is told of it in the file.

    Input `patches`: uint8 [n, patch_px, patch_px, 3], RGB at `mpp`; output `codes`: float32 [n, code]. The file's
    metadata hold all that as JSON under `geryon-encoder`. Errors as of `export_onnx`.
    """
    _, _, torch = _packages()
    from geryon.nets.encoders.ready import Whole, ready

    document, tensors, sha256 = encoder_weights(encoder)
    warn_of_terms(document)
    network = Whole(ready(document, tensors)).eval()
    patches = stained(PATCHES, document.patch_px)
    told = {
        "mpp": document.mpp,
        "patch_px": document.patch_px,
        "code": document.code,
        "sha256": sha256,
        "document": asdict(document),
    }

    def differ(run: Run) -> str:
        with torch.inference_mode():
            exact = network(torch.from_numpy(patches)).numpy()
        return "" if agrees(run({PATCH_INPUT: patches})[0], exact, "float32") else "its codes come out otherwise"

    free = {name: {0: f"n of {name}"} for name in (PATCH_INPUT, CODES)}
    example = torch.from_numpy(patches[:2])
    _write(path, network, _Asked(example=example, free=free, told=told, differ=differ, name=document.name))
    return told


Run = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is written of a network, and how it is found to answer as torch does."""

    example: Any
    free: dict[str, dict[int, str]]
    """The sides that may have any length, by the names of the input and the outputs, in their order."""
    told: dict[str, Any]
    differ: Callable[[Run], str]
    """What it answers otherwise, in words; or ""."""
    name: str


def _write(path: Path, network: Any, asked: _Asked) -> None:
    """The file, whole and compared, or nothing."""
    onnx, onnxruntime, torch = _packages()
    source, *outputs = asked.free
    with whole_file(path) as fresh:
        try:
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")  # tracing is called deprecated; what it gives is checked below
                torch.onnx.export(
                    network,
                    (asked.example,),
                    str(fresh),
                    input_names=[source],
                    output_names=outputs,
                    dynamic_axes=asked.free,
                    opset_version=OPSET,
                    dynamo=False,
                )
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            raise _refusal(asked.name, str(error).strip().splitlines()[0]) from error
        graph = onnx.load(str(fresh))
        key = KEY if source == INPUT else ENCODER_KEY
        onnx.helper.set_model_props(graph, {key: json.dumps(asked.told, sort_keys=True, allow_nan=False)})
        onnx.save(graph, str(fresh))
        session = onnxruntime.InferenceSession(str(fresh), providers=["CPUExecutionProvider"])
        said = asked.differ(lambda given: session.run(None, given))
        if said:
            raise _refusal(asked.name, said)


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
