"""Encoders on a CUDA card, in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geryon.errors import MachineError, UsageError
from geryon.nets.encoders.agreement import PATCHES, agrees, stained
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.encoders.ready import Whole, ready
from geryon.nets.encoders.sliding import Sliding

BATCH, LANES = 128, 3
"""A batch goes in, one is computed and one comes out; more patches at once fill a card no better."""
PRECISION = "tf32"
"""What torch multiplies float32 in, in convolutions on cards since compute capability 8.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaCodes:
    """An encoder on one card; batches are filled up, so that a code does not depend on how many came with it."""

    name: str
    lanes: int
    batch: int
    precision: str
    device: torch.device
    whole: Whole
    sliding: Callable[[int], Sliding]

    @property
    def dense_stride_px(self) -> int | None:
        return self.whole.ready.dense_stride_px

    def codes(self, patches: np.ndarray) -> np.ndarray:
        given = torch.zeros((self.batch, *patches.shape[1:]), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        given[: len(patches)] = torch.from_numpy(np.ascontiguousarray(patches))
        return self._answer(self.whole, given)[: len(patches)]

    def dense(self, image: np.ndarray, stride_px: int) -> np.ndarray:
        sliding = self.sliding(stride_px)
        return self._answer(lambda images: sliding(self.whole.pooled(images)), torch.from_numpy(image)[None])[0]

    def _answer(self, network: Callable[[Tensor], Tensor], images: Tensor) -> np.ndarray:
        try:
            with torch.inference_mode():
                found: np.ndarray = network(images.to(self.device, non_blocking=True)).contiguous().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise MachineError(
                what="the card's memory has no room for a batch of patches",
                where=str(self.device),
                mend="close other programs on it, or use --engine cpu; finished work is kept",
            ) from error
        return found


def open_cuda(document: EncoderDocument, tensors: Mapping[str, np.ndarray], card: str = "") -> CudaCodes:
    """On the CUDA card of that number ("" for the first); UsageError where it can't be used, as when torch is not made
    for a card so old, or its codes come out otherwise: then "auto" takes another engine."""
    mend = "leave --engine out, or --engine cpu"
    if not torch.cuda.is_available() or not (card or "0").isdigit() or int(card or 0) >= torch.cuda.device_count():
        raise UsageError(what="there is no such CUDA card that torch can use", where=f"cuda:{card or 0}", mend=mend)
    patches = stained(PATCHES, document.patch_px)
    whole = Whole(ready(document, tensors)).eval()
    with torch.inference_mode():
        exact = whole(torch.from_numpy(patches)).numpy()
    try:
        engine = on_device(torch.device(f"cuda:{card or 0}"), whole)
        right = agrees(engine.codes(patches), exact, PRECISION)
    except RuntimeError as error:
        said = str(error).partition("\n")[0]
        raise UsageError(what=f"the card can't be used: {said}", where=f"cuda:{card or 0}", mend=mend) from error
    if not right:
        raise UsageError(what="its codes come out otherwise on the card", where=document.name, mend=mend)
    return engine


def on_device(device: torch.device, whole: Whole) -> CudaCodes:
    """The engine on any device of torch's; `whole` moves there."""
    layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}

    @cache
    def sliding(stride_px: int) -> Sliding:
        slid: Sliding = whole.ready.sliding(stride_px).to(**layout)
        return slid

    return CudaCodes(
        name="cuda",
        lanes=LANES,
        batch=BATCH,
        precision=PRECISION,
        device=device,
        whole=whole.to(**layout),
        sliding=sliding,
    )
