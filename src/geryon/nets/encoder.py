"""Encoders: patches of a slide to codes, the small vectors that slides are compressed to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.errors import InputError, UsageError
from geryon.nets.catalogue import find_model
from geryon.nets.encoders.document import EncoderDocument, read_encoder
from geryon.nets.encoders.engines import CodeEngine, open_engine
from geryon.nets.encoders.windowed import windowed
from geryon.nets.model import Model, load_model, warn_of_terms
from geryon.nets.weights import ENCODER_KEY, KEY, file_sha256, read_metadata
from geryon.space.turns import TURNS, turned

MEAN_RGB = EncoderDocument(
    name="mean-rgb",
    version="1",
    topology="layered",
    settings={"patch_px": 128, "layers": [{"kind": "mean"}]},
    patch_px=128,
    code=3,
)
"""The papers' floor: the mean colour of a patch, -1..1; nothing is learnt."""
KERAS = (".h5", ".hdf5", ".keras")
TIMM = "timm:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A loaded encoder; `lanes` threads may call it at once, best with `batch` patches each."""

    document: EncoderDocument
    sha256: str
    """Of its file; of its document and weights where it has none."""
    engine: CodeEngine

    @property
    def name(self) -> str:
        return self.document.name

    @property
    def mpp(self) -> float:
        """µm per pixel of the patches."""
        return self.document.mpp

    @property
    def patch_px(self) -> int:
        """Side of a patch at that mpp."""
        return self.document.patch_px

    @property
    def code(self) -> int:
        """Numbers in the code of a patch."""
        return self.document.code

    @property
    def model(self) -> Model | None:
        """The model whose own encoder it is: such a one sees slides in windows, not patch by patch. None for others."""
        return getattr(self.engine, "model", None)

    @property
    def lanes(self) -> int:
        return self.engine.lanes

    @property
    def batch(self) -> int:
        return self.engine.batch

    @property
    def precision(self) -> str:
        return self.engine.precision

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """Codes, float32 [n, code], of patches, uint8 RGB [n, patch_px, patch_px, 3] at `mpp`.

        More than `batch` patches are parted among `lanes` threads. UsageError for other types and sizes.
        """
        patches = self._checked(patches)
        parts = [patches[i : i + self.batch] for i in range(0, len(patches), self.batch)]
        if not parts:
            return np.empty((0, self.code), np.float32)
        if len(parts) == 1:
            return self.engine.codes(patches)
        with ThreadPoolExecutor(max(1, self.lanes), thread_name_prefix="encode") as pool:
            return np.concatenate(list(pool.map(self.engine.codes, parts)))

    @property
    def dense_stride_px(self) -> int | None:
        """What strides `dense` takes multiples of; None where patches must be encoded one by one."""
        return self.engine.dense_stride_px

    def dense(self, image: np.ndarray, stride_px: int) -> np.ndarray:
        """Codes, float32 [rows, columns, code], of all patches of an image, uint8 RGB [y, x, 3] at `mpp`.

        The first lies at the top left, each `stride_px` from the last; those that reach past the image are left out.
        What patches share is computed once, in one piece by the calling thread: a network of the papers holds 45 to
        70 bytes a pixel meanwhile. UsageError for other strides than multiples of `dense_stride_px`.
        """
        unit, side = self.dense_stride_px, self.patch_px
        if unit is None or stride_px < 1 or stride_px % unit:
            can = f"takes strides of whole multiples of {unit} px" if unit else "encodes patches one by one only"
            raise UsageError(what=f"{self.name} {can}, not {stride_px} px", where="dense", mend="call it with patches")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < side:
            raise UsageError(
                what=f"{self.name} takes images, uint8 [y, x, 3], of {side} px at least, and this is {image.dtype} "
                f"{list(image.shape)}",
                where="dense",
                mend="give a larger part of the slide, as bytes",
            )
        height, width = ((size - side) // stride_px * stride_px + side for size in image.shape[:2])
        return self.engine.dense(np.ascontiguousarray(image[:height, :width]), stride_px)

    def _checked(self, patches: Any) -> np.ndarray:
        array, side = np.asarray(patches), self.patch_px
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != (side, side, 3):
            raise UsageError(
                what=f"{self.name} takes RGB patches, uint8 [n, {side}, {side}, 3] at {self.mpp:g} µm per pixel, and "
                f"these are {array.dtype} {list(array.shape)}",
                where="patches",
                mend="cut or scale them so, as bytes 0 to 255; slides are cut by geryon compress",
            )
        return array


def codes_of_turns(encoder: Encoder, patches: np.ndarray) -> np.ndarray:
    """Codes, float32 [8, n, code], of the patches in each of the eight orientations (space/turns.py)."""
    ways = [turned(patches.transpose(1, 2, 0, 3), k).transpose(2, 0, 1, 3) for k in range(TURNS)]
    return np.stack([encoder(np.ascontiguousarray(way)) for way in ways])


def mean_of_turns(encoder: Encoder, patches: np.ndarray) -> np.ndarray:
    """The mean code of the eight orientations, float32 [n, code]: that of a turned or mirrored patch is the same."""
    mean: np.ndarray = codes_of_turns(encoder, patches).mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def load_encoder(name: str | Path, *, engine: str = "auto") -> Encoder:
    """The encoder of that name or in that file, in the engine of that name (nets/encoders/engines.py).

    A .safetensors of ours (also hub:OWNER/NAME/FILE.safetensors, or a name out of GERYON_MODELS), a .h5 that Keras 2
    saved, "mean-rgb", "timm:" and a folder or name of the hub with weights of timm, or a model such as "geryon-s": then
    its own encoder (`encoder_of`).
    """
    if (path := _model_file(name)) is not None:
        return encoder_of(load_model(path, engine=engine, tasks=(), features=True))
    document, tensors, sha256 = encoder_weights(name)
    warn_of_terms(document)
    return Encoder(document=document, sha256=sha256, engine=open_engine(engine, document, tensors))


def encoder_of(model: Model) -> Encoder:
    """The encoder of a model that was loaded with its features."""
    document, engine = windowed(model)
    return Encoder(document=document, sha256=model.sha256, engine=engine)


def _model_file(name: str | Path) -> Path | None:
    """The file of the model that is called so, None for what is no model."""
    if Path(name).suffix.lower() in KERAS or str(name) == MEAN_RGB.name or str(name).startswith(TIMM):
        return None
    path = find_encoder(name)
    return path if KEY in read_metadata(path) else None


def encoder_weights(name: str | Path) -> tuple[EncoderDocument, dict[str, np.ndarray], str]:
    """Document and weights of what is called so, and the sum by which its codes are known again."""
    text, path = str(name), Path(name)
    if text == MEAN_RGB.name:
        return MEAN_RGB, {}, digest(MEAN_RGB, {})
    if path.suffix.lower() in KERAS:
        from geryon.nets.foreign.keras import import_encoder

        if not path.is_file():
            raise InputError(what="there is no such file", where=text, mend="check the path")
        tensors, document = import_encoder(path)
        return document, tensors, file_sha256(path)
    if text.startswith(TIMM):
        from geryon.nets.encoders.timm_ import import_timm

        tensors, document = import_timm(text.removeprefix(TIMM))
        return document, tensors, digest(document, tensors)
    path = find_encoder(name)
    document, tensors = read_encoder(path)
    return document, tensors, file_sha256(path)


def names_encoder(text: str) -> bool:
    """True for what can only be an encoder: "mean-rgb", timm:..., a file of Keras, or a file of ours that holds one."""
    path = Path(text)
    if text == MEAN_RGB.name or text.startswith(TIMM):
        return not path.exists()
    if path.suffix.lower() in KERAS:
        return True
    return path.suffix == ".safetensors" and path.is_file() and ENCODER_KEY in read_metadata(path)


def find_encoder(name: str | Path) -> Path:
    """The .safetensors file of an encoder: a path, a place on a hub, or a name (nets/catalogue.py)."""
    try:
        return find_model(name)
    except UsageError as error:
        raise UsageError(
            what=f"no encoder is called {str(name)!r}",
            mend=f"choose {MEAN_RGB.name}, {TIMM}NAME, a .safetensors file of ours, a .h5 of Keras, or a place "
            "hub:OWNER/NAME/FILE.safetensors",
        ) from error


def digest(document: EncoderDocument, tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of an encoder that has no file of its own."""
    total = hashlib.sha256(json.dumps(asdict(document), sort_keys=True).encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(np.ascontiguousarray(tensors[name]).data)
    return total.hexdigest()
