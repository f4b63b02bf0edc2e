"""An encoder small enough for tests: real, untrained, and different for every turn of a patch."""

from __future__ import annotations

from pathlib import Path

import torch

from geryon.nets.encoder import Encoder, load_encoder
from geryon.nets.encoders.document import EncoderDocument, save_encoder
from geryon.nets.encoders.layered import build

PATCH_PX, CODE, MPP = 32, 4, 0.5


def saved_encoder(folder: Path, seed: int = 0) -> Path:
    """Its file."""
    torch.manual_seed(seed)
    layers = [
        {"kind": "conv", "out": 4, "kernel": 8, "stride": 8, "padding": [0, 0]},
        {"kind": "leaky_relu", "slope": 0.2},
        {"kind": "flatten"},
        {"kind": "dense", "out": CODE},
    ]
    settings = {"patch_px": PATCH_PX, "layers": layers}
    tensors = {name: tensor.numpy() for name, tensor in build(settings).state_dict().items()}
    document = EncoderDocument(
        name=f"small-{seed}", version="1", topology="layered", settings=settings, patch_px=PATCH_PX, code=CODE, mpp=MPP
    )
    path = folder / f"small-{seed}.safetensors"
    save_encoder(path, tensors, document)
    return path


def small_encoder(folder: Path, seed: int = 0) -> Encoder:
    """The encoder, loaded on the plain engine."""
    return load_encoder(saved_encoder(folder, seed), engine="cpu")
