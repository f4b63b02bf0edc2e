"""Which of what a network's encoder sees makes the best code of a cell?

    python -m benchmarks.code_choice [--data DIR] [--model geryon-s] [--source glas kather_crc ebhi_seg]

Images of GlaS (benign, malignant), Kather (nine tissues) and EBHI-Seg (six stages) are encoded whole: features of some
strides, of the encoder or of the decoder, their means or standard deviations too. Probes on these (train/encoders/
probe.py) that did not see the patient, slide or case answer: balanced accuracy, intervals over groups. A model that
learnt from a source knows its classes, so that codes can be compared there, and nothing else. Without data it says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import say, skip
from geryon.errors import GeryonError
from geryon.nets.catalogue import find_model
from geryon.nets.image import at_model_mpp
from geryon.nets.model import HALO_PX, cut, heads_of
from geryon.nets.network import bytes_network
from geryon.nets.pyramid import STRIDES
from geryon.nets.weights import read_document, read_tensors
from geryon.space.boxes import Box, Frame
from geryon.tasks.weighted_metrics import balanced_accuracy, with_intervals
from geryon.train.encoders.probe import ProbeSettings, answers
from geryon.train.source import Case, get_source

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDS = 5
LABELS: dict[str, Callable[[Case], str]] = {
    "glas": lambda case: case.stratum,
    "kather_crc": lambda case: str(int(case.labels["tissue"]().raster.max())),
    "ebhi_seg": lambda case: case.name.rpartition("-")[2],
}
CODES: dict[str, tuple[str, ...]] = {
    "stride 16": ("encoder 16 mean",),
    "stride 32": ("encoder 32 mean",),
    "strides 16 and 32": ("encoder 16 mean", "encoder 32 mean"),
    "strides 8 to 32": tuple(f"encoder {s} mean" for s in (8, 16, 32)),
    "strides 2 to 32": tuple(f"encoder {s} mean" for s in STRIDES),
    "strides 16 and 32, and deviations": tuple(f"encoder {s} {of}" for s in (16, 32) for of in ("mean", "deviation")),
    "the decoder's at stride 32": ("decoder 32 mean",),
    "strides 16 and 32, and the decoder's at 32": ("encoder 16 mean", "encoder 32 mean", "decoder 32 mean"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--source", nargs="+", choices=LABELS, default=list(LABELS))
    args = parser.parse_args()
    for source in args.source:
        try:
            cases = list(get_source(source).cases(args.data / source))
            seen = list(encoded(args.model, [case.image() for case in cases], [case.mpp for case in cases]))
        except (GeryonError, OSError) as error:
            skip("code_choice", "balanced accuracy of a probe", str(error), source=source)
            continue
        labels, groups = [LABELS[source](case) for case in cases], [case.group for case in cases]
        for name, parts in CODES.items():
            codes = np.stack([np.concatenate([each[part] for part in parts]) for each in seen])
            size = {"source": source, "model": args.model, "code": name, "images": len(cases)}
            told = {"numbers": codes.shape[1], "groups": len(set(groups))}
            found = probed(codes, labels, groups)
            say(
                "code_choice", "balanced accuracy of a probe", **found, unit="share", better="higher", size=size, **told
            )


def encoded(model: str, images: Sequence[np.ndarray], mpps: Sequence[float]) -> Iterator[Mapping[str, np.ndarray]]:
    """{"encoder 16 mean": float32 [channel], ...} of each image (uint8 [y, x, 3]), mirrored at its border."""
    import torch

    path = find_model(model)
    document = read_document(path)
    heads = heads_of(document.task_values(), document.mpp)
    network: Any = bytes_network(document, read_tensors(path), heads).network
    for image, mpp in zip(images, mpps, strict=True):
        height, width = image.shape[:2]
        level0 = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=width, height=height)
        work, scaled = at_model_mpp(image, level0, document.mpp)
        rows, columns = (-(-side // STRIDES[-1]) for side in scaled.shape[:2])
        whole = Box(work, 0, 0, columns * STRIDES[-1], rows * STRIDES[-1]).grow(HALO_PX)
        with torch.inference_mode():
            taps = network.taps(torch.from_numpy(cut(scaled, whole))[None].permute(0, 3, 1, 2))
            decoded = network.decoded(taps)
        found = {}
        for who, levels in (("encoder", taps), ("decoder", decoded)):
            for stride, level in zip(STRIDES, levels, strict=True):
                inner = level[0][:, HALO_PX // stride :, HALO_PX // stride :]
                inner = inner[:, : max(1, scaled.shape[0] // stride), : max(1, scaled.shape[1] // stride)]
                found[f"{who} {stride} mean"] = inner.mean((1, 2)).numpy()
                found[f"{who} {stride} deviation"] = inner.std((1, 2)).numpy()
        yield found


def probed(codes: np.ndarray, labels: Sequence[str], groups: Sequence[str]) -> dict[str, float]:
    """Balanced accuracy out of fold, the answers of three probes averaged."""
    classes, true = np.unique(labels, return_inverse=True)
    names = np.random.default_rng(0).permutation(np.unique(groups))
    folds = np.array([int(np.flatnonzero(names == group)[0]) % FOLDS for group in groups])
    said = answers(codes, true, folds, classes=len(classes), settings=ProbeSettings(folds=FOLDS)).mean(axis=0)
    return with_intervals(
        lambda weights: {"found": balanced_accuracy(true, said.argmax(1), weights)}, [str(group) for group in groups]
    )["found"]


if __name__ == "__main__":
    main()
