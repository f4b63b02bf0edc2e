"""Published Cerberus weights: a torch checkpoint to tensors and the document of our model file.

The weights are CC BY-NC-SA 4.0: their users fetch them; they are never shipped with this package.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geryon.errors import InputError
from geryon.nets.topologies import cerberus
from geryon.nets.weights import ModelDocument, SourceDocument, TaskDocument, file_sha256
from geryon.tasks import published
from geryon.tasks.task import PUBLISHED

KEY = "desc"
"""Where a published checkpoint keeps its tensors."""
PREFIX = "module."
"""What names begin with when the network was saved from several GPUs."""
LICENCE = "CC BY-NC-SA 4.0"
SOURCE = "https://github.com/TissueImageAnalytics/cerberus"
CITATION = (
    "Graham, Vu, Jahanifar, Raza, Minhas, Snead, Rajpoot: One model is all you need: multi-task learning enables "
    "simultaneous histology image segmentation and classification. Medical Image Analysis 2022, 102685"
)
BLANK_PX = 80
"""Decoders leave out the outer part of a window's halo (96 px) that nobody reads."""
UNREAD = "num_batches_tracked"
"""A count of training steps: may be missing."""


def import_checkpoint(path: str | Path) -> tuple[dict[str, np.ndarray], ModelDocument]:
    """Tensors by published name and the document of the model, from a published checkpoint (.tar or .pth).

    Only tensors are read from the file, never code. Write them with half=False to keep every bit.
    """
    path = Path(path)
    return tensors_of(read_checkpoint(path), where=str(path)), document_of(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What the checkpoint holds under `desc`, by name without the prefix."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(
            what=f"can't be read: {error.strerror}", where=str(path), mend="check the path and its rights"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise InputError(
            # What torch says would advise to load code all the same.
            what=f"is no checkpoint of tensors only ({type(error).__name__})",
            where=str(path),
            mend="fetch the published file again; files that need code to load are refused",
        ) from error
    given = held.get(KEY) if isinstance(held, Mapping) else None
    if not isinstance(given, Mapping):
        raise InputError(
            what=f"holds no dictionary {KEY!r}", where=str(path), mend="give a published Cerberus checkpoint"
        )
    return {str(name).removeprefix(PREFIX): value for name, value in given.items()}


def tensors_of(given: Mapping[str, Any], *, where: str) -> dict[str, np.ndarray]:
    """The checked tensors; every fault of names and shapes is told at once."""
    wanted = wanted_shapes()
    faults = [f"{name} is missing" for name in wanted if name not in given and not name.endswith(UNREAD)]
    faults += [f"{name} is unknown" for name in given if name not in wanted]
    faults += [fault for name in wanted if name in given and (fault := _fault(name, given[name], wanted[name]))]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            what=f"the weights do not fit the published network: {'; '.join(faults[:3])}{more}",
            where=where,
            mend="give a checkpoint of the published resnet34 model with all six heads",
        )
    return {name: given[name].detach().cpu().numpy() for name in wanted if name in given}


def wanted_shapes() -> dict[str, tuple[int, ...]]:
    """Published name -> shape, from the topology itself, without memory for its weights."""
    with torch.device("meta"):
        network = cerberus.build({}, cerberus.ALL_HEADS)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _fault(name: str, value: Any, shape: tuple[int, ...]) -> str:
    if not isinstance(value, torch.Tensor):
        return f"{name} is no tensor"
    if tuple(value.shape) != shape:
        return f"{name} is {tuple(value.shape)}, not {shape}"
    if value.is_floating_point() == name.endswith(UNREAD):
        return f"{name} has type {value.dtype}"
    return "" if bool(torch.isfinite(value).all()) else f"{name} is not finite"


WINDOWS = {
    "default": {"window_px": 1024, "halo_px": 88},
    "published": {"window_px": 144, "halo_px": 152},
}
"""Both on the published grid phase, 8 modulo 16 from the slide's corner; 88 px change 0.4 % of the pixels at most."""


def document_of(path: Path) -> ModelDocument:
    """What the model file says: topology, tasks with their own classes, resolution, licence and source."""
    return ModelDocument(
        name="cerberus",
        version="published",
        topology="cerberus",
        settings={"blank_px": BLANK_PX},
        tasks=tuple(TaskDocument(name=name) for name in PUBLISHED),
        mpp=published.NUCLEI.mpp,
        windows=WINDOWS,
        normalisation="RGB 0..255, as read; divided by 255 inside the network, no mean, no deviation",
        sources=(
            SourceDocument(name=f"Cerberus weights ({SOURCE})", licence=LICENCE, use="research", citation=CITATION),
        ),
        use="research",
        training={"imported_from": path.name, "sha256": file_sha256(path)},
    )
