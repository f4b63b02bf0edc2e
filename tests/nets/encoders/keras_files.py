"""Makes small .h5 files as Keras 2 writes them: the layout of the published encoders, with few and random weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS, CODE = 4, 5


def network(side: int = 64, blocks: int = 2) -> list[dict[str, Any]]:
    """Layers as in the published files: convolution, leaky ReLU, norm; then flattened to a code."""
    layers: list[dict[str, Any]] = [_layer("InputLayer", "input_1", batch_input_shape=[None, side, side, 3])]
    for i in range(1, blocks + 1):
        conv = {"filters": CHANNELS, "kernel_size": [3, 3], "strides": [2, 2], "padding": "valid", "use_bias": True}
        how = {"data_format": "channels_last", "dilation_rate": [1, 1], "activation": "linear"}
        layers.append(_layer("Conv2D", f"conv2d_{i}", **conv, **how))
        layers.append(_layer("LeakyReLU", f"leaky_re_lu_{i}", alpha=0.20000000298023224))
        layers.append(
            _layer("BatchNormalization", f"batch_normalization_{i}", axis=-1, epsilon=0.001, momentum=0.8, center=True)
        )
    layers.append(_layer("Flatten", "flatten_1"))
    return [*layers, _layer("Dense", "encoded", units=CODE, activation="linear", use_bias=True)]


def _layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "name": name, "config": {"name": name, **config}}


def arrays(layers: list[dict[str, Any]], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """{layer: {weight: random array}}."""
    rng, out, channels, side = np.random.default_rng(seed), {}, 3, layers[0]["config"]["batch_input_shape"][1]
    for layer in layers:
        if layer["class_name"] == "Conv2D":
            out[layer["name"]] = {
                "kernel": rng.normal(0, 0.3, (3, 3, channels, CHANNELS)),
                "bias": rng.normal(size=CHANNELS),
            }
            channels, side = CHANNELS, (side - 3) // 2 + 1
        elif layer["class_name"] == "BatchNormalization":
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            out[layer["name"]] = {n: rng.uniform(0.2, 2, CHANNELS) * (-1 if n == "gamma" else 1) for n in names}
        elif layer["class_name"] == "Dense":
            size = (channels * side * side, CODE)
            out[layer["name"]] = {"kernel": rng.normal(0, 0.1, size), "bias": rng.normal(size=CODE)}
    return {layer: {k: v.astype(np.float32) for k, v in held.items()} for layer, held in out.items()}


def flat_file(path: Path, layers: list[dict[str, Any]], held: dict[str, dict[str, np.ndarray]]) -> Path:
    """A functional model: a group a layer, the arrays one level deeper under its name again."""
    layers = copy.deepcopy(layers)
    for before, layer in zip([None, *layers], layers, strict=False):
        layer["inbound_nodes"] = [[[before["name"], 0, 0, {}]]] if before else []
    config = {"class_name": "Model", "config": {"name": "model_1", "layers": layers}}
    config["config"] |= {"input_layers": [["input_1", 0, 0]], "output_layers": [[layers[-1]["name"], 0, 0]]}
    groups = {layer["name"]: {layer["name"]: held.get(layer["name"], {})} for layer in layers}
    return _write(path, config, groups)


def nested_file(path: Path, layers: list[dict[str, Any]], held: dict[str, dict[str, np.ndarray]]) -> Path:
    """A Sequential inside a model: all arrays in its group, all running statistics listed last."""
    inner = [{k: v for k, v in layer.items() if k != "name"} for layer in copy.deepcopy(layers[1:])]
    outer = [
        {**copy.deepcopy(layers[0]), "inbound_nodes": []},
        {"class_name": "Sequential", "name": "seq", "config": inner, "inbound_nodes": [[["input_1", 0, 0, {}]]]},
    ]
    config = {"class_name": "Model", "config": {"name": "model_4", "layers": outer}}
    config["config"] |= {"input_layers": [["input_1", 0, 0]], "output_layers": [["seq", 1, 0]]}
    return _write(path, config, {"input_1": {}, "seq": held})


def _write(path: Path, config: dict[str, Any], groups: dict[str, dict[str, dict[str, np.ndarray]]]) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [name.encode() for name in groups]
        for name, layers in groups.items():
            group = top.create_group(name)
            pairs = [(f"{layer}/{k}:0", v) for layer, held in layers.items() for k, v in held.items()]
            pairs.sort(key=lambda pair: "moving" in pair[0])
            group.attrs["weight_names"] = np.array([n.encode() for n, _ in pairs] or [], dtype="S40")
            for key, value in pairs:
                group[key] = value
    return path
