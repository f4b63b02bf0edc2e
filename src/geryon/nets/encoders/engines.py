"""Where an encoder runs: patches in, codes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from geryon import plugins
from geryon.errors import MissingPartError, UsageError
from geryon.nets.cores import has_cuda_driver
from geryon.nets.encoders.document import EncoderDocument

ENGINES = {
    "cpu": "geryon.nets.encoders.torch_codes:open_cpu",
    "openvino": "geryon.nets.encoders.openvino_codes:open_openvino",
    "openvino-float32": "geryon.nets.encoders.openvino_codes:open_float32",
    "cuda": "geryon.nets.encoders.cuda_codes:open_cuda",
}
"""Entry points of the group geryon.encoder_engines add to it; names are those of the engines of models."""


class CodeEngine(Protocol):
    """One loaded encoder; `lanes` threads may call it at once, each with up to `batch` patches."""

    name: str
    lanes: int
    batch: int
    precision: str
    dense_stride_px: int | None
    """What `dense` takes multiples of; None where codes can't be had that way."""

    def codes(self, patches: np.ndarray) -> np.ndarray:
        """float32 [n, code] of patches uint8 [n, patch_px, patch_px, 3], n at least 1."""
        ...

    def dense(self, image: np.ndarray, stride_px: int) -> np.ndarray:
        """float32 [rows, columns, code] of the patches of an image, uint8 [y, x, 3], that lie `stride_px` apart."""
        ...


AUTO, EXACT = "auto", "float32"
"""Not engines but choices: the fastest, and the fastest that computes in float32."""


def open_engine(name: str, document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> CodeEngine:
    """The engine of that name with the encoder in it; "cuda:1" is the second card.

    "auto" takes a CUDA card, then OpenVINO, then torch: facts of the machine, so that the same machine always chooses
    the same. "float32" is the same without what rounds more: for codes that are compared to the last digits.
    """
    if name not in (AUTO, EXACT):
        kind, _, card = name.partition(":")
        on_card = kind == "cuda" and card
        opened = plugins.load(ENGINES[kind]) if on_card else plugins.find(ENGINES, "geryon.encoder_engines", name)
        engine: CodeEngine = opened(document, tensors, *([card] if on_card else []))
        return engine
    likely = ["openvino-float32"] if name == EXACT else [*(["cuda"] if has_cuda_driver() else []), "openvino"]
    for one in likely:
        try:
            return open_engine(one, document, tensors)
        except (UsageError, MissingPartError):
            continue
    return open_engine("cpu", document, tensors)
