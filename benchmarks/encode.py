"""How many patches a second does an encoder take, by engine, and how near are the codes to plain torch's?

    python -m benchmarks.encode [--encoder FILE] [--rounds 3] [--patches 64] [--dense]

The network alone: uint8 patches in memory in, codes out, by one caller, as a lane of a run calls it; rates are of core
seconds. Plain torch is the network as it was trained, float32, in its faster batch. Without --encoder it is the
published multitask encoder where that is at hand, else its topology with random weights (then codes mean nothing, and
no cosine is told). Cosines are over patches of Kather's tissue where that is at hand, else over clouds in the colours
of H&E. With --dense: cells of a grid a second from a whole image, beside patch by patch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.machine import Seconds, interleaved, ratio_of, say, skip
from geryon.errors import GeryonError
from geryon.nets.encoders.agreement import cosine, stained
from geryon.nets.encoders.document import EncoderDocument, read_encoder
from geryon.nets.encoders.engines import ENGINES, CodeEngine, open_engine
from geryon.plugins import names

SHARED = Path(__file__).resolve().parents[2] / "shared"
PUBLISHED = SHARED / "reference" / "nic" / "encoder_multitask-4.h5"
TISSUE = SHARED / "data" / "kather_crc" / "crc_val_he_7k"
PLAIN_BATCHES = (16, 64)
ASKED = 2.0
"""Times plain torch, of what `auto` takes on processors."""
DENSE_PX = 1024
STRIDES_PX = (32, 64, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, help="a .h5 of Keras or a .safetensors of ours")
    parser.add_argument("--engine", nargs="+", help="default: all that open here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patches", type=int, default=64)
    parser.add_argument("--dense", action="store_true")
    args = parser.parse_args()
    path = args.encoder or (PUBLISHED if PUBLISHED.is_file() else None)
    document, tensors = found(path)
    engines = opened(args.engine or names(ENGINES, "geryon.encoder_engines"), document, tensors)
    rates(document, tensors, engines, count=args.patches, rounds=args.rounds)
    if path is not None:
        agreement(document, tensors, engines)
    if args.dense:
        for name, engine in engines.items():
            dense(document, name, engine, args.rounds)


def found(path: Path | None) -> tuple[EncoderDocument, dict[str, np.ndarray]]:
    """The encoder in that file; with None one of random weights."""
    if path is not None and path.suffix == ".h5":
        from geryon.nets.foreign.keras import import_encoder

        tensors, document = import_encoder(path)
        return document, tensors
    if path is not None:
        return read_encoder(path)
    from geryon.nets.encoders.layered import build, preset

    network, settings = build(preset("nic-64")), preset("nic-64")
    document = EncoderDocument(
        name="random", version="0", topology="layered", settings=settings, patch_px=128, code=128
    )
    return document, {k: v.numpy() for k, v in network.state_dict().items()}


def opened(asked: list[str], document: EncoderDocument, tensors: dict[str, np.ndarray]) -> dict[str, CodeEngine]:
    """The encoder in each engine that opens; a line for the others."""
    engines = {}
    for name in asked:
        try:
            engines[name] = open_engine(name, document, tensors)
        except GeryonError as error:
            skip("encode", f"the engine {name}", str(error), encoder=document.name, engine=name)
    return engines


def plain(document: EncoderDocument, tensors: dict[str, np.ndarray], batch: int) -> Callable[[np.ndarray], np.ndarray]:
    """The network as it was trained, in the calling thread."""
    import torch

    from geryon.nets.encoders.ready import filled

    network = filled(document, tensors)
    torch.set_num_threads(1)

    def codes(patches: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            parts = [torch.from_numpy(patches[i : i + batch]) for i in range(0, len(patches), batch)]
            return torch.cat([network(part.permute(0, 3, 1, 2).contiguous()) for part in parts]).numpy()

    return codes


def rates(
    document: EncoderDocument,
    tensors: dict[str, np.ndarray],
    engines: dict[str, CodeEngine],
    *,
    count: int,
    rounds: int,
) -> None:
    """Patches a second of a core, and times the faster plain torch."""
    patches = stained(count, document.patch_px)
    calls: dict[str, Callable[[], object]] = {}
    for batch in PLAIN_BATCHES:
        calls[f"plain {batch}"] = partial(plain(document, tensors, batch), patches)
    for name, engine in engines.items():
        calls[name] = partial(in_batches, engine, patches)
    taken = interleaved(calls, rounds)
    fastest = min((taken[f"plain {batch}"] for batch in PLAIN_BATCHES), key=lambda seconds: seconds.core_seconds)
    for batch in PLAIN_BATCHES:
        how = {"encoder": document.name, "engine": "plain torch", "batch": batch}
        say("encode", "patches a second of a core", **rate(taken[f"plain {batch}"], len(patches)), size=how)
    for name, engine in engines.items():
        how = {"encoder": document.name, "engine": name, "batch": engine.batch}
        told = {"precision": engine.precision}
        say("encode", "patches a second of a core", **rate(taken[name], len(patches)), size=how, **told)
        times = ratio_of(fastest, taken[name], of="cpu")
        asked = {"asked": ASKED} if name == "openvino" else {}
        say("encode", "times plain torch", **times, unit="times", better="higher", size=how, **asked, **told)


def rate(seconds: Seconds, units: int) -> dict[str, object]:
    """Units a second of one core, for `say`."""
    return {**seconds.rate(units, of="cpu"), "unit": "patches/s", "better": "higher"}


def in_batches(engine: CodeEngine, patches: np.ndarray) -> np.ndarray:
    """The codes in the engine's own batches, in the calling thread."""
    return np.concatenate([engine.codes(patches[i : i + engine.batch]) for i in range(0, len(patches), engine.batch)])


def agreement(document: EncoderDocument, tensors: dict[str, np.ndarray], engines: dict[str, CodeEngine]) -> None:
    """Cosine of each engine's codes to plain torch's: mean, with the least and the fifth hundredth beside."""
    patches, which = tissue(document.patch_px)
    exact = plain(document, tensors, 16)(patches)
    for name, engine in engines.items():
        found = cosine(in_batches(engine, patches), exact)
        size = {"encoder": document.name, "engine": name, "patches": len(patches), "of": which}
        off, worst, twentieth = (float(1 - v) for v in (found.mean(), found.min(), np.quantile(found, 0.05)))
        told = {"high": worst, "of_the_worst_twentieth": twentieth, "precision": engine.precision}
        # Lines are rounded to four figures: what counts is how far it is from one.
        say("encode", "1 - cosine to plain torch", value=off, unit="1 - cosine", asked=0.001, size=size, **told)


def tissue(side: int) -> tuple[np.ndarray, str]:
    """Ten patches of each of Kather's classes (0.5 µm/px), or what stands for them."""
    files = [file for folder in sorted(TISSUE.glob("*/")) for file in sorted(folder.iterdir())[:10]]
    if not files:
        return stained(64, side), "clouds"
    import cv2

    images = [cv2.imread(str(file))[40 : 40 + side, 40 : 40 + side, ::-1] for file in files]
    return np.ascontiguousarray([image for image in images if image.shape[:2] == (side, side)]), "Kather"


def dense(document: EncoderDocument, name: str, engine: CodeEngine, rounds: int) -> None:
    """Cells of a grid from a whole image, over the same patch by patch."""
    if engine.dense_stride_px is None:
        skip("encode", "dense", "this encoder takes patches only", encoder=document.name, engine=name)
        return
    image = stained(1, DENSE_PX)[0]
    side = document.patch_px
    for stride in STRIDES_PX:
        cells = (DENSE_PX - side) // stride + 1
        whole = np.ascontiguousarray(image[: (cells - 1) * stride + side, : (cells - 1) * stride + side])
        places = range(0, cells * stride, stride)
        patches = np.stack([whole[r : r + side, c : c + side] for r in places for c in places])
        calls: dict[str, Callable[[], object]] = {
            "dense": partial(engine.dense, whole, stride),
            "patches": partial(in_batches, engine, patches),
        }
        taken = interleaved(calls, rounds)
        size = {"encoder": document.name, "engine": name, "stride_px": stride, "image_px": len(whole)}
        times = ratio_of(taken["patches"], taken["dense"], of="cpu")
        more = {"cells_a_second": cells**2 / taken["dense"].core_seconds, "precision": engine.precision}
        say("encode", "dense: times patch by patch", **times, unit="times", better="higher", size=size, **more)


if __name__ == "__main__":
    main()
