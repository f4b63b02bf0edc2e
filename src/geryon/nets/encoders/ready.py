"""An encoder with its weights in torch, made ready to answer; what all of its engines begin with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from geryon import plugins
from geryon.errors import InputError, UsageError
from geryon.nets.encoders import GROUP, TOPOLOGIES
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.encoders.folding import folded
from geryon.nets.encoders.layered import Layered
from geryon.nets.network import fill


class Ready(nn.Module):
    """Images [n, y, x, 3] to codes float32 [n, code]: uint8 as read, or float32 means of `pool` x `pool` of them.

    Pooling stands before the network where its first layer is one: it is far quicker there (nets/encoders/front.py).
    """

    def __init__(self, network: nn.Module, pool: int = 1) -> None:
        super().__init__()
        self.network, self.pool = network.eval(), pool

    def forward(self, images: Tensor) -> Tensor:
        codes: Tensor = self.network(images.permute(0, 3, 1, 2))
        return codes.float()


def filled(document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> nn.Module:
    """The document's network with its weights, as trained; InputError where they do not fit, or it says otherwise."""
    try:
        # The topology comes out of a file: looked up, never imported.
        network: nn.Module = plugins.look_up(TOPOLOGIES, GROUP, document.topology)(document.settings)
    except UsageError as error:
        raise InputError(
            what=f"its network can't be built: {error.what}", where=document.name, mend="use the file as it was written"
        ) from error
    told, built = (document.patch_px, document.code), (network.patch_px, network.code)
    if told != built:
        raise InputError(
            what=f"its network takes patches of {built[0]} px to {built[1]} numbers, and its document says {told[0]} "
            f"and {told[1]}",
            where=document.name,
            mend="use the file as it was written",
        )
    fill(network, tensors, f"the topology {document.topology!r}", where=document.name)
    return network.eval()


def ready(document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> Ready:
    """The network for inference: of plain layers the norms folded, the scaling of pixels too, and pooling apart."""
    network = filled(document, tensors)
    if not isinstance(network, Layered):
        return Ready(network)
    with torch.no_grad():
        layers = folded(network)
    pool = layers[0].kernel_size if isinstance(layers[0], nn.AvgPool2d) else 1
    size = int(pool if isinstance(pool, int) else pool[0])
    if document.patch_px % size:
        size = 1
    return Ready(Layers(*layers[1 if size > 1 else 0 :]), size)


class Layers(nn.Sequential):
    """Folded layers behind each other, for images of bytes or their means, RGB 0..255."""

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = super().forward(images.float())
        return out
