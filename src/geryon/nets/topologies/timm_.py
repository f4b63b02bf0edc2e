"""Encoders of the package timm under the common decoder (nets/pyramid.py): ResNet, ConvNeXt, vision transformers.

A vision transformer has one stride; its last features become a pyramid by transposed convolutions and pooling (Li et
al., ViTDet, ECCV 2022). Where the finest features come at stride 4 or later, a few plain convolutions over the image
give those of stride 2, for outlines. Weights of others come from a folder or a hub that a recipe names, never from what
a model file says: a model file holds all of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon.errors import InputError, MissingPartError, UsageError
from geryon.nets import hub
from geryon.nets.pyramid import STRIDES, PyramidNet, Residual, check_heads, convolution
from geryon.nets.topologies import Head, check_settings, texts, whole_numbers
from geryon.nets.weights import ModelDocument, SourceDocument

DEFAULTS: dict[str, Any] = {
    "encoder": "resnet34",
    "arguments": {},
    "fine": 24,
    "decoder": (24, 40, 64, 96, 96),
    "apart": (),
    "branches": (),
}
PATCH_STRIDES = 8, 16, 32
"""Strides that a transformer's patches can have here; those of 14 pixels see the image a little smaller."""
MLP_LAYERS = ("Mlp", "SwiGLUPacked", "SwiGLU", "GluMlp")
ACTIVATIONS = ("gelu", "silu", "relu")
OPEN_LICENCES = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0")
"""Of weights that an open recipe may start from; all others, and those that say nothing, are for research."""


def _whole(value: Any) -> str:
    return "" if type(value) is int and 0 <= value <= 8192 else "must be a whole number"


def _number(value: Any) -> str:
    return "" if type(value) in (int, float) and 0 < value <= 100 else "must be a number above 0"


def _yes_or_no(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _one_of(names: tuple[str, ...]) -> Callable[[Any], str]:
    return lambda value: "" if value in names else f"must be one of {', '.join(names)}"


ARGUMENTS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("depth", "embed_dim", "img_size", "num_heads", "patch_size", "reg_tokens"), _whole),
    **dict.fromkeys(("init_values", "mlp_ratio"), _number),
    **dict.fromkeys(("no_embed_class", "qkv_bias"), _yes_or_no),
    "act_layer": _one_of(ACTIVATIONS),
    "mlp_layer": _one_of(MLP_LAYERS),
}
"""What weights such as UNI's or Virchow's need said of their transformer, and what is said against a value."""


def build(settings: Mapping[str, Any], heads: tuple[Head, ...]) -> nn.Module:
    """The network with these heads; settings: encoder (a name of timm), arguments of it, fine, decoder (widths),
    apart and branches (maps and tasks with layers of their own, nets/pyramid.py)."""
    timm = _timm()
    check_settings(
        settings,
        {
            "encoder": lambda name: "" if isinstance(name, str) and timm.is_model(name) else "is no model of timm",
            "arguments": arguments_said,
            "fine": lambda n: whole_numbers(1, 1024)([n]),
            "decoder": whole_numbers(5, 1024),
            "apart": texts,
            "branches": texts,
        },
    )
    check_heads("timm", heads)
    chosen = {**DEFAULTS, **settings}
    encoder = TimmEncoder(chosen["encoder"], chosen["arguments"], chosen["fine"])
    return PyramidNet(encoder, tuple(chosen["decoder"]), heads, chosen["apart"], chosen["branches"])


def arguments_said(given: Any) -> str:
    """What is said against arguments of an encoder."""
    if not isinstance(given, Mapping):
        return "must be names and values"
    said = [f"{name} {ARGUMENTS[name](value)}" for name, value in given.items() if name in ARGUMENTS]
    said = [text for text in said if text.split(" ", 1)[1]]
    strangers = [str(name) for name in given if name not in ARGUMENTS]
    return "; ".join(said + ([f"there is no argument {', '.join(strangers)}"] if strangers else []))


class TimmEncoder(nn.Module):
    """Features at STRIDES of an image scaled to (RGB - 127) / 128; `widths` are their channels."""

    mean: Tensor
    std: Tensor
    """Of RGB in 0..1, float32 [3, 1, 1]: what the weights were trained with."""

    def __init__(self, name: str, arguments: Mapping[str, Any], fine: int) -> None:
        super().__init__()
        with torch.device("meta"):
            told = created(name, arguments, {"num_classes": 0}).feature_info
        has_one = len({level["reduction"] for level in told}) == 1
        self.body: Levels | Column = (Column if has_one else Levels)(name, arguments)
        widths = dict(self.body.widths)
        if 2 not in widths:
            stem = [*convolution(3, fine, 3, stride=2), nn.ReLU(inplace=True), Residual(fine, fine, 1)]
            self.fine, widths[2] = nn.Sequential(*stem), fine
        self.widths = tuple(widths[stride] for stride in STRIDES)
        cfg = self.body.model.pretrained_cfg
        self.register_buffer("mean", torch.tensor(cfg["mean"]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(cfg["std"]).view(3, 1, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = self.body(((x * 128.0 + 127.0) / 255.0 - self.mean) / self.std)
        if 2 not in taps:
            taps[2] = self.fine(x)
        return [taps[stride] for stride in STRIDES]


class Levels(nn.Module):
    """A network whose features have several strides; of each stride the last."""

    asked: Mapping[str, Any] = {"features_only": True}

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = created(name, arguments, self.asked)
        info = self.model.feature_info
        self.at = {stride: i for i, stride in enumerate(info.reduction()) if stride in STRIDES}
        if not set(STRIDES[1:]) <= set(self.at) or "NHWC" in str(getattr(self.model, "output_fmt", "")):
            raise UsageError(
                what=f"the encoder {name} has no features at the strides {', '.join(map(str, STRIDES[1:]))}",
                where="net.settings",
                mend="choose a ResNet, a ConvNeXt or a plain vision transformer",
            )
        self.widths = {stride: info.channels()[i] for stride, i in self.at.items()}

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        taps = self.model(x)
        return {stride: taps[i] for stride, i in self.at.items()}


class Column(nn.Module):
    """A vision transformer: its last features, all of one stride, made into a pyramid (ViTDet)."""

    asked: Mapping[str, Any] = {"num_classes": 0, "dynamic_img_size": True}

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = created(name, arguments, self.asked)
        self.patch = int(self.model.feature_info[-1]["reduction"])
        self.stride = min(PATCH_STRIDES, key=lambda stride: abs(math.log2(self.patch / stride)))
        rises = {stride: int(math.log2(self.stride / stride)) for stride in STRIDES[1:]}
        wide = int(self.model.num_features)
        self.rise = nn.ModuleDict({str(stride): _rise(wide, max(0, times)) for stride, times in rises.items()})
        self.widths = {stride: wide >> max(0, times) for stride, times in rises.items()}

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        if self.patch != self.stride:
            size = [side // self.stride * self.patch for side in x.shape[2:]]
            x = functional.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
        last = self.model.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[-1]
        taps = {}
        for stride in STRIDES[1:]:
            fewer = max(1, stride // self.stride)
            taps[stride] = functional.max_pool2d(self.rise[str(stride)](last), fewer)
        return taps


def _rise(wide: int, times: int) -> nn.Sequential:
    """Twice the size and half the channels, `times` times."""
    steps: list[nn.Module] = []
    for i in range(times):
        if i:
            steps += [nn.GroupNorm(1, wide >> i), nn.GELU()]
        steps.append(nn.ConvTranspose2d(wide >> i, wide >> (i + 1), 2, stride=2))
    return nn.Sequential(*steps)


def created(name: str, arguments: Mapping[str, Any], asked: Mapping[str, Any], *, pretrained: bool = False) -> Any:
    """timm's model of that name; UsageError where the arguments do not make one."""
    timm = _timm()
    said = dict(arguments)
    if "mlp_layer" in said:
        said["mlp_layer"] = getattr(timm.layers, said["mlp_layer"])
    try:
        model = timm.create_model(name, pretrained=pretrained, **said, **asked)
    except (TypeError, ValueError, AssertionError, AttributeError) as error:
        raise UsageError(
            what=f"the encoder {name} can't be built so: {error}",
            where="net.settings",
            mend="change its arguments, or choose a ResNet, a ConvNeXt or a plain vision transformer",
        ) from error
    model.keeps_norms = True  # its layers stand in an order of its own, and some of its norms activate
    return model


def read_start(place: str) -> ModelDocument:
    """What is known of the weights in that folder, or at that place of the Hugging Face hub: name and terms."""
    config = config_of(place)
    licence = str(_pretrained(config).get("license") or config.get("license") or "")
    use = "open" if licence.lower() in OPEN_LICENCES else "research"
    name = f"weights {Path(place).name if Path(place).is_dir() else place}"
    source = SourceDocument(name=name, licence=licence or "not stated", use=use)
    return ModelDocument(name=name, version="", topology="timm", tasks=(), sources=(source,), use=use)


def start_from(network: PyramidNet, settings: Mapping[str, Any], place: str) -> None:
    """Fill the encoder with the weights at that place, and take over the normalisation that they were trained with."""
    chosen, config, encoder = {**DEFAULTS, **settings}, config_of(place), network.encoder
    assert isinstance(encoder, TimmEncoder), "build makes no other"
    theirs = str(config["architecture"])
    if theirs.split(".")[0] != chosen["encoder"].split(".")[0]:
        raise UsageError(
            what=f"its weights are of a {theirs}, the recipe's encoder is {chosen['encoder']}",
            where=f"net.start ({place})",
            mend=f"write settings: {{encoder: {theirs}}}",
        )
    fill_from(encoder.body.model, place, chosen["arguments"], encoder.body.asked)
    cfg = encoder.body.model.pretrained_cfg
    encoder.mean.copy_(torch.tensor(cfg["mean"]).view(3, 1, 1))
    encoder.std.copy_(torch.tensor(cfg["std"]).view(3, 1, 1))


def fill_from(model: nn.Module, place: str, arguments: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Fill a model of timm, created with these arguments, with the weights at that place, and take over their
    configuration (`pretrained_cfg`: mean and spread of the images)."""
    config, where = config_of(place), weights_at(place)
    try:
        # Whole, with its own classes, timm refuses weights that lack something; as a body it would leave that random.
        created(where, arguments, {}, pretrained=True)
        given = created(where, arguments, asked, pretrained=True)
        model.load_state_dict(given.state_dict())
    except UsageError:
        raise
    except Exception as error:  # what a hub, a damaged file or a wrong shape raise has no common class
        said = f"; it was made with {config['model_args']}" if config.get("model_args") else ""
        raise InputError(
            what=f"its weights can't be taken: {' '.join(str(error).split())[:300]}{said}",
            where=f"net.start ({place})",
            mend="check net.settings.arguments, and fetch or copy the files again",
        ) from error
    model.pretrained_cfg = given.pretrained_cfg


def asked_of(name: str) -> Mapping[str, Any]:
    """What timm is asked for codes of whole images: no classes, and of transformers images of any size."""
    with torch.device("meta"):
        told = created(name, {}, {"num_classes": 0}).feature_info
    return Column.asked if len({level["reduction"] for level in told}) == 1 else {"num_classes": 0}


def weights_at(place: str) -> str:
    """How timm is told of weights in that folder, or at that place of the hub."""
    return f"local-dir:{place}" if Path(place).is_dir() else f"hf-hub:{place}"


def config_of(place: str) -> dict[str, Any]:
    """The config.json that timm writes beside weights; InputError where there is none."""
    try:
        folder = Path(place)
        path = folder / "config.json" if folder.is_dir() else _fetched(place)
        config = json.loads(path.read_text(encoding="utf-8"))
        _ = config["architecture"]
    except MissingPartError:
        raise
    except Exception as error:  # a hub's client raises classes of its own
        raise InputError(
            what=f"has no weights of a timm model: {' '.join(str(error).split())[:300]}",
            where=f"net.start ({place})",
            mend="give a folder with config.json and model.safetensors, or owner/name on the Hugging Face hub "
            "(hf auth login, where its owner lets nobody in unasked)",
        ) from error
    return dict(config)


def _fetched(place: str) -> Path:
    _timm()  # brings the hub's client
    return hub.download(place, "config.json")


def _pretrained(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("pretrained_cfg")
    return inner if isinstance(inner, Mapping) else {}


def _timm() -> Any:
    """The package; MissingPartError with what brings it."""
    try:
        import timm
    except ImportError as error:
        raise MissingPartError(
            what="the encoders of timm are not installed",
            where="net.name: timm",
            mend=f'pip install "geryon[encoders]" "torch=={torch.__version__}"',
        ) from error
    except RuntimeError as error:  # operators of torchvision that this torch has not
        raise MissingPartError(
            what=f"timm can't be loaded, for its torchvision was built for another torch than {torch.__version__} "
            f"({error})",
            where="net.name: timm",
            mend="pip install the torchvision that belongs to it, from where that torch came from",
        ) from error
    return timm
