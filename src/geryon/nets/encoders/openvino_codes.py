"""Encoders in OpenVINO, compiled for this machine's processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from geryon.nets.cores import has_amx, usable_cores
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.encoders.front import images_of
from geryon.nets.engines import openvino_

BATCH = 8
"""More at once gains nothing, and what layers hand on no longer stays in a core's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVinoCodes:
    """A compiled encoder with a stream and a request for each lane."""

    name: str
    lanes: int
    batch: int
    precision: str
    pool: int
    requests: SimpleQueue[Any]

    def codes(self, patches: np.ndarray) -> np.ndarray:
        images = images_of(patches, self.pool)
        request = self.requests.get()
        try:
            request.infer([images], share_inputs=True)
            found: np.ndarray = request.get_output_tensor(0).data.copy()
        finally:
            self.requests.put(request)
        return found


def open_openvino(document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> OpenVinoCodes:
    """In what this machine's processor is fastest in without leaving float32 by more than docs/engines.md says."""
    return _opened(document, tensors, "bfloat16" if has_amx() else "float32")


def open_float32(document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> OpenVinoCodes:
    """In float32 on every processor."""
    return _opened(document, tensors, "float32")


def _opened(document: EncoderDocument, tensors: Mapping[str, np.ndarray], precision: str) -> OpenVinoCodes:
    openvino_.require()
    import torch

    from geryon.nets.encoders.ready import ready

    network, lanes = ready(document, tensors), usable_cores()
    side = document.patch_px // network.pool
    example = torch.zeros((2, side, side, 3), dtype=torch.float32 if network.pool > 1 else torch.uint8)
    try:
        with torch.inference_mode():
            graph = openvino_.graph_of(network, example, (-1, side, side, 3))
        requests = openvino_.requests_of(graph, precision, lanes)
    except Exception as error:  # its errors have no class of their own
        raise openvino_.refusal(document.name, error) from error
    return OpenVinoCodes(
        name="openvino", lanes=lanes, batch=BATCH, precision=precision, pool=network.pool, requests=requests
    )
