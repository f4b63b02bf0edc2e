"""Encoders that Keras 2 saved (.h5): a chain of plain layers to the list of ours, its arrays read by name.

The file is HDF5: the network as JSON in the root's attribute `model_config`, arrays under `model_weights`, in a group a
layer of the outermost network; a network inside it keeps all of its arrays in its own group. There `weight_names` lists
them in an order of its own (all running statistics last), so nothing is read by position. TensorFlow is not needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.errors import InputError, MissingPartError, UsageError
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.foreign.keras_layers import Found, NotPlain, chain_of, layer_of, side_of
from geryon.nets.weights import SourceDocument, file_sha256

REPOSITORY = "https://github.com/davidtellez/neural-image-compression"
LICENCE = "MIT (Copyright (c) 2021 Diagnostic Image Analysis Group)"
NIC = (
    "Tellez, Litjens, van der Laak, Ciompi: Neural Image Compression for Gigapixel Histopathology Image Analysis. "
    "IEEE TPAMI 2019, doi 10.1109/TPAMI.2019.2936841"
)
MULTITASK = (
    "Tellez et al.: Extending Unsupervised Neural Image Compression With Supervised Multitask Learning. "
    "MIDL 2020, arXiv 2004.07041"
)
PUBLISHED = {
    "6870393f": "multitask-4",
    "b5839370": "bigan",
    "3fd7c7f6": "mean-rgb",
    "c2761c8a": "contrastive",
    "1b5cb06e": "vae",
    "e37d631a": "supervised-tissue",
    "69121233": "supervised-tumor",
}
"""How git's names of the repository's files begin (SHA-1 of "blob", length and bytes): its licence is theirs."""
PATCH_PX, MPP = 128, 0.5
"""Of the papers; networks that take half as many pixels get the mean of 2 x 2."""
STATISTICS = {"running_mean": "moving_mean", "running_var": "moving_variance"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """One array of the network: where Keras keeps it, its shape there, and how it becomes ours."""

    layer: Found
    name: str
    shape: tuple[int, ...]
    turn: tuple[int, ...] = ()

    @property
    def told(self) -> str:
        return f"{self.layer.name}/{self.name}"


def import_encoder(path: str | Path) -> tuple[dict[str, np.ndarray], EncoderDocument]:
    """Tensors and document of an encoder of ours (topology "layered") from a .h5 that Keras 2 saved.

    MissingPartError without h5py; InputError where the file is none, holds layers of unknown kinds (all are named), is
    no chain from one image to one code, or its arrays do not fit its layers.
    """
    path = Path(path)
    h5py = _h5py()
    try:
        with h5py.File(path) as file:
            layers, network_px = _layers(file)
            before = _before(network_px)
            settings = {"patch_px": PATCH_PX, "layers": before + [ours for _, ours in layers]}
            shapes, code = _shapes(settings)
            tensors = _tensors(file, {len(before) + i: found for i, (found, _) in enumerate(layers)}, shapes)
    except NotPlain as error:
        raise InputError(what=str(error), where=str(path), mend=error.mend) from error
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, (LookupError, TypeError, AttributeError)):  # what Python says of it helps nobody alone
            said = f"its network is not described as Keras 2 does it ({type(error).__name__}: {said})"
        raise InputError(
            what=f"is no encoder that Keras 2 saved, or is damaged: {said}",
            where=str(path),
            mend="fetch or copy it again",
        ) from error
    return tensors, _document(path, settings, code)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingPartError(
            what="h5py is needed for encoders of Keras", mend='pip install "geryon[encoders]", or pip install h5py'
        ) from error
    return h5py


def _layers(file: Any) -> tuple[list[tuple[Found, dict[str, Any]]], int]:
    """The chain, each layer of the file beside ours, without what does nothing at inference; and the side it takes."""
    if "model_config" not in file.attrs:
        held = "holds weights without their network" if "layer_names" in file.attrs else "is HDF5, but no Keras model"
        raise NotPlain(held, "save the whole model (model.save), or give a published encoder_*.h5")
    chain = chain_of(json.loads(file.attrs["model_config"]))
    side = side_of(chain)
    if side not in (PATCH_PX // 2, PATCH_PX):
        raise NotPlain(
            f"takes patches of {side} px, and only of {PATCH_PX // 2} and {PATCH_PX} px is the µm per pixel known",
            "give an encoder of neural image compression",
        )
    found, unknown, px = [], [], side
    for layer in chain:
        try:
            ours, px = layer_of(layer, px)
        except NotPlain as error:
            unknown.append(str(error))
            continue
        found += [(layer, each) for each in ours]
    if unknown:
        raise NotPlain(f"has layers that are not known here: {'; '.join(unknown)}", "give an encoder of plain layers")
    return found, side


def _before(network_px: int) -> list[dict[str, Any]]:
    return [] if network_px == PATCH_PX else [{"kind": "pool", "size": PATCH_PX // network_px}]


def _shapes(settings: Mapping[str, Any]) -> tuple[dict[str, tuple[int, ...]], int]:
    """Our names and shapes, and the length of the code."""
    from geryon.nets.encoders.layered import build

    try:
        network = build(settings)
    except UsageError as error:
        raise NotPlain(
            f"its layers do not fit together: {error.what}", "give an encoder: one image to one code"
        ) from error
    state = network.state_dict()
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}, int(network.code)  # type: ignore[arg-type]


def _tensors(file: Any, layers: Mapping[int, Found], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Every array by our name; all that do not fit are told at once."""
    wanted = {name: _wanted(layers[int(name.split(".")[1])], name.rsplit(".", 1)[1], s) for name, s in shapes.items()}
    held, faults = {}, []
    for name, want in wanted.items():
        array, fault = _array(file, want)
        faults += [fault] if fault else []
        held[name] = array
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise NotPlain(f"its arrays do not fit its layers: {'; '.join(faults[:3])}{more}", "fetch or copy it again")
    return held


def _wanted(layer: Found, part: str, shape: tuple[int, ...]) -> _Wanted:
    """Keras has kernels [row, column, in, out] and [in, out]; ours are [out, in, row, column] and [out, in]."""
    if layer.kind == "BatchNormalization":
        return _Wanted(layer=layer, name=STATISTICS.get(part) or {"weight": "gamma", "bias": "beta"}[part], shape=shape)
    if part == "bias":
        return _Wanted(layer=layer, name="bias", shape=shape)
    turn = (3, 2, 0, 1) if len(shape) == 4 else (1, 0)
    theirs = tuple(shape[turn.index(axis)] for axis in range(len(shape)))
    return _Wanted(layer=layer, name="kernel", shape=theirs, turn=turn)


def _array(file: Any, want: _Wanted) -> tuple[np.ndarray, str]:
    """float32 as ours, and what is wrong with it. Looked at before it is read: a shape may promise terabytes."""
    shape = tuple(want.shape[axis] for axis in want.turn) or want.shape
    if want.name in want.layer.absent:
        return np.full(shape, float(want.name == "gamma"), np.float32), ""
    group = file["model_weights"].get(want.layer.group)
    names = [_text(name) for name in group.attrs["weight_names"]] if group is not None else []
    ends = [name for name in names if name.split("/")[-2:] == [want.layer.name, f"{want.name}:0"]]
    if len(ends) != 1 or ends[0] not in group:
        return np.empty(0), f"{want.told} is missing"
    data = group[ends[0]]
    if tuple(data.shape) != want.shape or data.dtype.kind != "f":
        return np.empty(0), f"{want.told} is {data.dtype} {tuple(data.shape)}, not float {want.shape}"
    array = np.asarray(data, np.float32)
    if not np.isfinite(array).all():
        return np.empty(0), f"{want.told} is not finite"
    return np.ascontiguousarray(array.transpose(want.turn) if want.turn else array), ""


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _document(path: Path, settings: Mapping[str, Any], code: int) -> EncoderDocument:
    name = PUBLISHED.get(_git_name(path)[:8], "")
    if name:
        citation = MULTITASK if name.startswith("multitask") else NIC
        source = SourceDocument(
            name=f"encoder_{name}.h5 ({REPOSITORY})", licence=LICENCE, use="open", citation=citation
        )
    else:
        source = SourceDocument(name=f"Keras file {path.name}", licence="not stated", use="research")
    return EncoderDocument(
        name=f"nic-{name}" if name else path.stem,
        version="published" if name else "imported",
        topology="layered",
        settings=settings,
        mpp=MPP,
        patch_px=PATCH_PX,
        code=code,
        sources=(source,),
        use=source.use,
        training={"imported_from": path.name, "sha256": file_sha256(path)},
    )


def _git_name(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
