"""Encoders in OpenVINO, compiled for this machine's processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from geryon.nets.cores import has_amx, has_vnni, usable_cores
from geryon.nets.encoders.agreement import PATCHES, agrees, stained
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.encoders.front import images_of
from geryon.nets.engines import openvino_

if TYPE_CHECKING:
    from geryon.nets.encoders.ready import Ready

BATCH = 8
"""More at once gains nothing, and what layers hand on no longer stays in a core's cache."""


Requests = SimpleQueue[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVinoCodes:
    """A compiled encoder with a stream and a request for each lane."""

    name: str
    lanes: int
    batch: int
    precision: str
    pool: int
    requests: Requests
    dense_stride_px: int | None
    sliding: Callable[[int], Requests]

    def codes(self, patches: np.ndarray) -> np.ndarray:
        return _answer(self.requests, images_of(patches, self.pool))

    def dense(self, image: np.ndarray, stride_px: int) -> np.ndarray:
        return _answer(self.sliding(stride_px), images_of(image[None], self.pool))[0]


def _answer(requests: Requests, images: np.ndarray) -> np.ndarray:
    request = requests.get()
    try:
        request.infer([images], share_inputs=True)
        found: np.ndarray = request.get_output_tensor(0).data.copy()
    finally:
        requests.put(request)
    return found


def open_openvino(document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> OpenVinoCodes:
    """In what this machine's processor is fastest in, where the codes agree with those in float32 (agreement.py):
    bfloat16 with AMX, else eight bits with VNNI, else float32."""
    fast = "bfloat16" if has_amx() else "int8" if has_vnni() else ""
    return _opened(document, tensors, [fast, "float32"] if fast else ["float32"])


def open_float32(document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> OpenVinoCodes:
    """In float32 on every processor."""
    return _opened(document, tensors, ["float32"])


def _opened(document: EncoderDocument, tensors: Mapping[str, np.ndarray], precisions: list[str]) -> OpenVinoCodes:
    """In the first of the precisions that agrees; UsageError where none does."""
    openvino_.require()
    import torch

    from geryon.nets.encoders.ready import ready

    network = ready(document, tensors)
    patches = stained(PATCHES, document.patch_px)
    with torch.inference_mode():
        exact = network(torch.from_numpy(images_of(patches, network.pool))).numpy()
    for precision in precisions:
        if precision == "int8":
            network = ready(document, tensors, eight_bits=True)
            if not network.ranges:
                continue
        opened = _compiled(document, network, precision)
        if agrees(opened.codes(patches), exact, precision):
            return opened
    raise openvino_.refusal(document.name, "its codes come out otherwise")


def _compiled(document: EncoderDocument, network: Ready, precision: str) -> OpenVinoCodes:
    side = document.patch_px // network.pool

    @cache
    def sliding(stride_px: int) -> Requests:
        return _requests(document, network.sliding(stride_px), (network, precision), (1, -1, -1, 3))

    return OpenVinoCodes(
        name="openvino",
        lanes=usable_cores(),
        batch=BATCH,
        precision=precision,
        pool=network.pool,
        requests=_requests(document, network, (network, precision), (-1, side, side, 3)),
        dense_stride_px=network.dense_stride_px,
        sliding=sliding,
    )


def _requests(
    document: EncoderDocument, network: Any, how: tuple[Ready, str], shape: tuple[int, int, int, int]
) -> Requests:
    """The network compiled for images of that shape (-1: any) in that precision, which ranges of `Ready` make."""
    import torch

    ready, precision = how
    side = document.patch_px // ready.pool
    example = torch.zeros((2, side, side, 3), dtype=torch.float32 if ready.pool > 1 else torch.uint8)
    try:
        with torch.inference_mode():
            graph = openvino_.graph_of(network, example, shape)
        if precision == "int8":
            openvino_.quantise(graph, ready.ranges, openvino_.PREFIX)
        return openvino_.requests_of(graph, precision, usable_cores())
    except Exception as error:  # its errors have no class of their own
        raise openvino_.refusal(document.name, error) from error
