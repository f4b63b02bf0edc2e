"""What a Keras network's JSON says: a chain of layers from one image to one code, and each layer as ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NETWORKS = ("Model", "Functional", "Sequential")
IDLE = ("InputLayer", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout")
"""What changes nothing at inference."""


class NotPlain(Exception):
    """Why a file can't be taken, and what would mend it."""

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.mend = mend


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One layer of the file."""

    kind: str
    """Its class in Keras."""
    name: str
    config: Mapping[str, Any]
    group: str
    """The outermost layer that holds it: its arrays lie in that group."""

    @property
    def absent(self) -> tuple[str, ...]:
        """Arrays that such a layer does without."""
        flags = {"use_bias": "bias", "scale": "gamma", "center": "beta"}
        return tuple(name for flag, name in flags.items() if not self.config.get(flag, True))


def chain_of(network: Mapping[str, Any], group: str = "") -> list[Found]:
    """All layers in their order, those of networks inside networks in place of these."""
    config = network["config"]
    layers = config if isinstance(config, list) else config["layers"]  # old Keras: a Sequential is its list
    if network["class_name"] not in NETWORKS:
        raise NotPlain(f"is a {network['class_name']}, not a network of layers", "give an encoder's own file")
    if network["class_name"] != "Sequential":
        layers = _ordered(config)
    found: list[Found] = []
    for layer in layers:
        name = str(
            layer["config"]["name"] if "name" not in layer and isinstance(layer["config"], dict) else layer["name"]
        )
        if layer["class_name"] in NETWORKS:
            found += chain_of(layer, group or name)
        else:
            found.append(Found(kind=layer["class_name"], name=name, config=layer["config"], group=group or name))
    return found


def _ordered(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The layers of a functional network from its one input to its one output, each fed by the one before."""
    outputs = [place[0] for place in config["output_layers"]]
    if len(outputs) != 1:
        raise NotPlain(
            f"has {len(outputs)} outputs ({', '.join(map(str, outputs))}), and a code is one",
            "save the network up to the output that is the code (of a variational encoder the mean)",
        )
    by_name = {layer["name"]: layer for layer in config["layers"]}
    order, name = [by_name[outputs[0]]], outputs[0]
    while order[-1]["class_name"] != "InputLayer":
        feeds = order[-1]["inbound_nodes"]
        if len(feeds) != 1 or len(feeds[0]) != 1 or len(order) > len(by_name):
            raise NotPlain(f"is no chain: the layer {name} has several inputs", "give an encoder of plain layers")
        name = feeds[0][0][0]
        order.append(by_name[name])
    return order[::-1]


def side_of(chain: list[Found]) -> int:
    """Rows and columns of the images that the network takes; they must be RGB and square."""
    shape = next((f.config["batch_input_shape"] for f in chain if "batch_input_shape" in f.config), None)
    if not isinstance(shape, list) or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise NotPlain(f"takes {shape}, not square RGB images [n, y, x, 3]", "give an encoder of images")
    return int(shape[1])


def layer_of(layer: Found, px: int) -> tuple[list[dict[str, Any]], int]:
    """The layer as ours (nets/encoders/layered.py) for images of that side, and the side that it leaves.

    An activation written into a layer is one of its own here. NotPlain says what is unknown.
    """
    if layer.kind in IDLE:
        return [], px
    if layer.kind not in _KNOWN:
        raise NotPlain(f"{layer.kind} ({layer.name})")
    if layer.config.get("data_format", "channels_last") != "channels_last":
        raise NotPlain(f"{layer.kind} with channels first ({layer.name})")
    ours, px = _KNOWN[layer.kind](layer, px)
    if layer.kind in ("Conv2D", "Dense"):
        ours += _activation(layer, px)[0]
    return ours, px


def _conv(layer: Found, px: int) -> tuple[list[dict[str, Any]], int]:
    config = layer.config
    kernel, stride = _same(layer, "kernel_size"), _same(layer, "strides")
    if _same(layer, "dilation_rate", 1) != 1 or config.get("groups", 1) != 1:
        raise NotPlain(f"Conv2D with dilation or groups ({layer.name})")
    padding = _padding(layer, px, kernel, stride)
    after = (px + sum(padding) - kernel) // stride + 1
    return [{"kind": "conv", "out": config["filters"], "kernel": kernel, "stride": stride, "padding": padding}], after


def _padding(layer: Found, px: int, kernel: int, stride: int) -> list[int]:
    """ "same" gives ceil(px / stride) pixels, with the odd zero after the last (TensorFlow's rule)."""
    how = layer.config.get("padding", "valid")
    if how not in ("valid", "same"):
        raise NotPlain(f"{layer.kind} with padding {how!r} ({layer.name})")
    total = 0 if how == "valid" else max(0, (-(-px // stride) - 1) * stride + kernel - px)
    return [total // 2, total - total // 2]


def _same(layer: Found, name: str, default: int | None = None) -> int:
    """A setting that must be one number for rows and columns."""
    value = layer.config.get(name, default)
    values = set(value) if isinstance(value, list) else {value}
    if len(values) != 1:
        raise NotPlain(f"{layer.kind} with {name} {value} ({layer.name})")
    [one] = values
    return int(one)


def _pool(layer: Found, px: int) -> tuple[list[dict[str, Any]], int]:
    size = _same(layer, "pool_size")
    if _same(layer, "strides", size) != size or layer.config.get("padding", "valid") != "valid":
        raise NotPlain(f"AveragePooling2D whose steps are not its size ({layer.name})")
    return [{"kind": "pool", "size": size}], px // size


def _norm(layer: Found, px: int) -> tuple[list[dict[str, Any]], int]:
    axis = layer.config.get("axis", -1)
    if axis not in (-1, 3, [-1], [3]):
        raise NotPlain(f"BatchNormalization over axis {axis} ({layer.name})")
    # Theirs is what stays of the old statistics, ours what the new ones get.
    momentum = round(1.0 - float(layer.config.get("momentum", 0.99)), 6)
    return [{"kind": "batch_norm", "eps": float(layer.config.get("epsilon", 1e-3)), "momentum": momentum}], px


def _leaky(layer: Found, px: int) -> tuple[list[dict[str, Any]], int]:
    slope = layer.config.get("alpha", layer.config.get("negative_slope"))
    if type(slope) not in (int, float):
        raise NotPlain(f"LeakyReLU with slope {slope!r} ({layer.name})")
    return [{"kind": "leaky_relu", "slope": float(slope or 0.0)}], px


def _activation(layer: Found, px: int) -> tuple[list[dict[str, Any]], int]:
    how = layer.config.get("activation", "linear")
    if how not in ("linear", "relu"):
        raise NotPlain(f"activation {how} ({layer.name})")
    return ([] if how == "linear" else [{"kind": "leaky_relu", "slope": 0.0}]), px


def _dense(layer: Found, px: int) -> tuple[list[dict[str, Any]], int]:
    return [{"kind": "dense", "out": layer.config["units"]}], px


_KNOWN: dict[str, Any] = {
    "Conv2D": _conv,
    "AveragePooling2D": _pool,
    "BatchNormalization": _norm,
    "LeakyReLU": _leaky,
    "Activation": _activation,
    "Dense": _dense,
    "Flatten": lambda layer, px: ([{"kind": "flatten"}], px),
    "GlobalAveragePooling2D": lambda layer, px: ([{"kind": "mean"}], px),
}
