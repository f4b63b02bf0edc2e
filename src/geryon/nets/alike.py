"""Whether another form of a network answers as torch does: asked before it is used or written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from geryon.nets.network import BytesNetwork

EXAMPLE_PX = 256
"""Side of the picture that a network is traced with; any side will do afterwards."""
CHECKED_PX = ((320, 256), (256, 448))
"""Heights and widths of the pictures that it is asked about: not those that it was traced with."""
MOST_BYTES_OFF = 2
"""By which it may differ on noise, where sums of thousands of terms are rounded in another order."""
MOST_SHARE_OFF = 1e-3
"""The same for features: a share of the largest."""


def example() -> torch.Tensor:
    """The picture to trace with: uint8 [1, y, x, 3]."""
    return torch.zeros((1, EXAMPLE_PX, EXAMPLE_PX, 3), dtype=torch.uint8)


def difference(network: BytesNetwork, run: Callable[[np.ndarray], Sequence[np.ndarray]]) -> str:
    """What `run` (images uint8 [n, y, x, 3] to the maps in the network's order) answers otherwise, in words; or ""."""
    for size in CHECKED_PX:
        image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
        with torch.inference_mode():
            wanted = [value.numpy() for value in network(torch.from_numpy(image))]
        for name, value, other in zip(network.names, wanted, run(image), strict=True):
            if other.shape != value.shape or _is_off(value, other):
                return f"its map {name} of an image of {size[0]} x {size[1]} pixels comes out otherwise"
    return ""


def _is_off(value: np.ndarray, other: np.ndarray) -> bool:
    apart = np.abs(other.astype(np.float32) - value.astype(np.float32)).max(initial=0)
    most = MOST_BYTES_OFF if value.dtype == np.uint8 else MOST_SHARE_OFF * np.abs(value).max(initial=0)
    return bool(apart > most)
