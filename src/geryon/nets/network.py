"""A topology with its weights in torch, made ready to answer; what all engines begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geryon import plugins
from geryon.errors import InputError, UsageError
from geryon.nets.topologies import FEATURES, TOPOLOGIES, Head
from geryon.nets.weights import ModelDocument

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda logits: torch.softmax(logits, dim=1),
    "identity": lambda values: values.clamp(0, 1),
}


class BytesNetwork(nn.Module):
    """The network between bytes: images uint8 [n, y, x, 3] to the maps uint8 [n, y, x, channel], in order of `names`.

    Activations and the rounding to bytes are part of it, so that an engine has them in its graph and on its device.
    FEATURES among the heads come as float32; where nothing else is asked, the network ends where they are made.
    """

    def __init__(
        self,
        network: nn.Module,
        heads: Sequence[Head],
        activations: Mapping[str, str],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`heads` are the maps that are wanted, by their order; `activations` holds those of each ("task/map")."""
        super().__init__()
        self.network: Any = network.to(dtype=dtype).eval()
        self.dtype = dtype
        self.names = tuple(head.name for head in heads)
        self.heads = tuple((h.name, h.channels, activations[h.name]) for h in heads if h != FEATURES)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = images.permute(0, 3, 1, 2).to(self.dtype)
        found: dict[str, Tensor] = {}
        if FEATURES.name not in self.names:
            logits = self.network(x)
        else:
            logits, features = self.network.with_features(x) if self.heads else ({}, self.network.features(x))
            found[FEATURES.name] = features.permute(0, 2, 3, 1)
        found |= {name: self._bytes(logits[name].float(), channels, how) for name, channels, how in self.heads}
        return tuple(found[name] for name in self.names)

    def _bytes(self, logits: Tensor, channels: int, activation: str) -> Tensor:
        p = ACTIVATIONS[activation](logits)
        values = (p * 255.0).round().to(torch.uint8)
        # A single plane needs no transposition, which the graphs of other engines would carry out.
        return values[:, 0].unsqueeze(-1) if channels == 1 else values.permute(0, 2, 3, 1)


def bytes_network(
    document: ModelDocument,
    tensors: Mapping[str, np.ndarray],
    heads: tuple[Head, ...],
    dtype: torch.dtype = torch.float32,
) -> BytesNetwork:
    """The model's network for inference in that type, its batch norms folded; it answers `heads`."""
    network = filled(document, tensors, heads)
    fold_batch_norms(network)
    for module in list(network.modules()):
        prepare = getattr(module, "for_inference", None)
        if prepare is not None:
            prepare()
    activations = {f"{t.name}/{m.name}": m.activation for t in document.task_values() for m in t.maps}
    return BytesNetwork(network, heads, activations, dtype)


def filled(document: ModelDocument, tensors: Mapping[str, np.ndarray], heads: tuple[Head, ...]) -> nn.Module:
    """The network of the document with its weights; every fault of the weights at once."""
    network = _built(document, heads)
    fill(network, tensors, f"the topology {document.topology!r}", where=document.name)
    return network.eval()


def fill(network: nn.Module, tensors: Mapping[str, np.ndarray], what: str, *, where: str) -> None:
    """Put the weights into the network (`what` it is, for the error), all of them or none; every fault at once."""
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    faults = [f"{k} is missing" for k in wanted if k not in tensors]
    faults += [
        f"{k} is {tuple(tensors[k].shape)}, not {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in tensors and tuple(tensors[k].shape) != tuple(v.shape)
    ]
    if faults:
        raise InputError(
            what=f"the weights do not fit {what}: {'; '.join(faults[:3])}"
            + (f" and {len(faults) - 3} more" if len(faults) > 3 else ""),
            where=where,
            mend="use the weights file as it was written, or convert it with geryon import-weights",
        )
    state = {k: torch.from_numpy(np.array(tensors[k], dtype=np.float32)) for k in wanted}
    network.load_state_dict(state, strict=False)


def _built(document: ModelDocument, heads: tuple[Head, ...]) -> nn.Module:
    """The topology comes out of a file: looked up, never imported; what it refuses is then the file's fault."""
    maps = tuple(head for head in heads if head != FEATURES)
    try:
        network: nn.Module = plugins.look_up(TOPOLOGIES, "geryon.topologies", document.topology)(
            document.settings, maps
        )
    except UsageError as error:
        raise InputError(
            what=f"its network can't be built: {error.what}", where=document.name, mend="use the file as it was written"
        ) from error
    if FEATURES in heads and not hasattr(network, "with_features"):
        raise UsageError(
            what=f"a network of the kind {document.topology!r} gives no features",
            where=document.name,
            mend="take geryon-s, or a model fitted from it or from an encoder of timm",
        )
    return network


def fold_batch_norms(network: nn.Module) -> None:
    """Put each batch norm into the convolution that its module lists just before it, as all topologies here do.

    A module that says `keeps_norms` is left as it is: networks of others list their layers in orders of their own.
    """
    if getattr(network, "keeps_norms", False):
        return
    names = list(network._modules)
    for a, b in zip(names, names[1:], strict=False):
        first, second = network._modules[a], network._modules[b]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            network._modules[a] = nn.utils.fuse_conv_bn_eval(first.eval(), second.eval())
            network._modules[b] = nn.Identity()
    for child in network.children():
        fold_batch_norms(child)
