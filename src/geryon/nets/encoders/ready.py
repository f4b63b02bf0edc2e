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
from geryon.nets.encoders.eight_bits import equalised
from geryon.nets.encoders.folding import folded
from geryon.nets.encoders.layered import Layered
from geryon.nets.encoders.sliding import Sliding, slid, stride_of
from geryon.nets.network import fill, fold_batch_norms


class Ready(nn.Module):
    """Images [n, y, x, 3] to codes float32 [n, code]: uint8 as read, or float32 means of `pool` x `pool` of them.

    Pooling stands before the network where its first layer is one: it is far quicker there (nets/encoders/front.py).
    """

    def __init__(
        self, network: nn.Module, patch_px: int, pool: int = 1, ranges: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        """`ranges`: {layer of `network`: least and greatest input} of those that may be computed in eight bits."""
        super().__init__()
        self.network, self.patch_px, self.pool, self.ranges = network.eval(), patch_px, pool, dict(ranges or {})

    def forward(self, images: Tensor) -> Tensor:
        codes: Tensor = self.network(images.permute(0, 3, 1, 2))
        return codes.float()

    @property
    def dense_stride_px(self) -> int | None:
        """What the stride of patches must be a multiple of for `sliding` to be exact; None where it never is."""
        stride = stride_of(list(self.network)) if isinstance(self.network, Layers) else None
        return None if stride is None else stride * self.pool

    def sliding(self, stride_px: int) -> Sliding:
        """The network over images for patches that lie so far apart (a multiple of `dense_stride_px`)."""
        assert isinstance(self.network, Layers) and self.dense_stride_px
        return slid(list(self.network), self.patch_px // self.pool, stride_px // self.dense_stride_px)


class Whole(nn.Module):
    """Patches uint8 [n, y, x, 3] to codes float32 [n, code], pooling and all, for other engines."""

    def __init__(self, ready: Ready) -> None:
        super().__init__()
        self.ready, self.pool = ready, nn.AvgPool2d(ready.pool) if ready.pool > 1 else nn.Identity()

    def pooled(self, images: Tensor) -> Tensor:
        """Means of the images' pixels, as `Ready` and `Sliding` take them."""
        means: Tensor = self.pool(images.permute(0, 3, 1, 2).float())
        return means.permute(0, 2, 3, 1)

    def forward(self, patches: Tensor) -> Tensor:
        codes: Tensor = self.ready(self.pooled(patches))
        return codes


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


def ready(document: EncoderDocument, tensors: Mapping[str, np.ndarray], *, eight_bits: bool = False) -> Ready:
    """The network for inference: of plain layers the norms folded, the scaling of pixels too, and pooling apart.

    With `eight_bits` channels are scaled so that the layers in `ranges` can be computed in eight bits.
    """
    network = filled(document, tensors)
    if not isinstance(network, Layered):
        fold_batch_norms(network)
        pool = getattr(network, "pool", None)
        size = _size(pool, document)
        if size > 1:
            network.pool = nn.Identity()
        return Ready(network, document.patch_px, size)
    with torch.no_grad():
        layers = folded(network)
        ranges = equalised(network, layers) if eight_bits else {}
    size = _size(layers[0], document)
    if size > 1:
        layers[0] = nn.Identity()  # layers keep their numbers
    return Ready(Layers(*layers), document.patch_px, size, ranges)


def _size(layer: object, document: EncoderDocument) -> int:
    """Of the means that the layer makes of the patch's pixels, 1 where it makes none."""
    size = layer.kernel_size if isinstance(layer, nn.AvgPool2d) else 1
    return size if isinstance(size, int) and document.patch_px % size == 0 else 1


class Layers(nn.Sequential):
    """Folded layers behind each other, for images of bytes or their means, RGB 0..255."""

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = super().forward(images.float())
        return out
