"""Encoders in torch on processors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from geryon.nets.cores import usable_cores
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.encoders.front import images_of
from geryon.nets.encoders.ready import Ready, ready
from geryon.nets.encoders.sliding import Sliding
from geryon.nets.engines.torch_ import one_thread

BATCH = 16
"""More at once gains nothing, and what layers hand on no longer stays in a core's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCodes:
    """An encoder in torch, float32, channels last; one thread a lane."""

    name: str
    lanes: int
    batch: int
    precision: str
    ready: Ready
    sliding: Callable[[int], Sliding]

    @property
    def dense_stride_px(self) -> int | None:
        return self.ready.dense_stride_px

    def codes(self, patches: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(images_of(patches, self.ready.pool))
        with torch.inference_mode(), one_thread():
            found: np.ndarray = self.ready(images).numpy()
        return found

    def dense(self, image: np.ndarray, stride_px: int) -> np.ndarray:
        with torch.inference_mode(), one_thread():
            codes = self.sliding(stride_px)(torch.from_numpy(images_of(image[None], self.ready.pool)))
            found: np.ndarray = codes[0].contiguous().numpy()
        return found


def open_cpu(document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> TorchCodes:
    """On this machine's processors, as many lanes as cores that may be used."""
    network = ready(document, tensors).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @cache
    def sliding(stride_px: int) -> Sliding:
        slid: Sliding = network.sliding(stride_px).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return slid

    return TorchCodes(
        name="cpu", lanes=usable_cores(), batch=BATCH, precision="float32", ready=network, sliding=sliding
    )
