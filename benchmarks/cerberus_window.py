"""Seconds per mm² of the published network: 448 -> 144 windows as published against large windows on the same grid.

    PYTHONPATH=src python benchmarks/cerberus_window.py [--threads N] [--rounds N] [--core PX]

Ways are timed in turn, so that all see the same load, and their medians are told as one JSON line. Weights are
random: time does not depend on them. `published` runs the network as built (float32, norms apart, all maps of the
whole window); the published tile mode computes each window twice, which is not counted here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from geryon.nets.cores import has_amx
from geryon.nets.foreign import cerberus_windows as windows
from geryon.nets.topologies import cerberus
from geryon.tasks import cerberus_decoding as rules
from geryon.tasks.metrics import object_metric

MPP = 0.5
REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "cerberus"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=windows.CORE_PX)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seconds = measure(ways(args.core), args.rounds)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    record = {
        "benchmark": "cerberus_window",
        "seconds_per_mm2": {name: round(value, 2) for name, value in medians.items()},
        "spread": {name: [round(min(t), 2), round(max(t), 2)] for name, t in seconds.items()},
        "times_faster": round(medians["published"] / medians["large"], 2),
        "core_px": args.core,
        "margin_px": windows.MARGIN_PX,
        "rounds": args.rounds,
        "threads": args.threads,
        "amx": has_amx(),
        "processor": processor(),
        "torch": torch.__version__,
    }
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.write(json.dumps(agreement()) + "\n")


def agreement() -> dict[str, object]:
    """PQ of the objects of the default windows (bfloat16) against float32 with margin 152; asked: 0.97.

    On the image of the reference's tile case with its weight rule: published weights are not at hand here.
    """
    head: dict[str, object] = {"benchmark": "cerberus_window", "question": "objects against float32, margin 152"}
    if not (REFERENCE / "tile_case.npz").exists():
        return {**head, "skipped": "needs shared/reference/cerberus"}
    with np.load(REFERENCE / "tile_case.npz", allow_pickle=False) as file:
        image = np.asarray(file["image"])
    exact = objects(windows.predict_large(reference_network(), image, margin=152))
    scores: dict[str, dict[str, float]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        module = reference_network().to(dtype)
        found = objects(windows.predict_large(module, image))
        name = f"margin {windows.MARGIN_PX}, {str(dtype).removeprefix('torch.')}"
        scores[name] = {task: round(object_metric(found[task], exact[task])["pq"], 4) for task in exact}
    counts = {task: int(labels.max()) for task, labels in exact.items()}
    return {**head, "pq": scores, "objects": counts, "asked": ">= 0.97"}


def reference_network() -> cerberus.Cerberus:
    """The published topology with the weights of the reference's rule (seed 0), norms folded in."""
    spec = importlib.util.spec_from_file_location("make_weights", REFERENCE / "make_weights.py")
    assert spec is not None and spec.loader is not None
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    drawn = {name: torch.from_numpy(np.array(value)) for name, value in rule.make_state_dict(0).items()}
    module = cerberus.build({}, cerberus.ALL_HEADS)
    module.load_state_dict({name: value for name, value in drawn.items() if name in module.state_dict()})
    return cerberus.for_inference(module.eval())


def objects(maps: windows.Maps) -> dict[str, np.ndarray]:
    """Instance maps by task, as the published rules make them."""
    parts = {name: np.moveaxis(maps.maps[f"{name}/inst"][..., 1:], 2, 0) for name in ("nuclei", "glands", "lumina")}
    glands = rules.decode_glands(*parts["glands"], published=True)
    lumina = rules.inside_glands(rules.decode_lumina(*parts["lumina"], published=True), glands)
    return {"nuclei": rules.decode_nuclei(*parts["nuclei"]), "glands": glands, "lumina": lumina}


def ways(core_px: int) -> dict[str, tuple[Callable[[], object], float]]:
    """Name -> (one run, mm² it answers for)."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (windows.OUT_PX, windows.OUT_PX, 3), dtype=np.uint8)
    large = rng.integers(0, 256, (core_px, core_px, 3), dtype=np.uint8)
    plain, fast = network(), cerberus.for_inference(network())
    out = {
        "published": (lambda: as_published(plain, small), mm2(windows.OUT_PX)),
        "published_folded": (lambda: windows.predict_published(fast, small), mm2(windows.OUT_PX)),
        "large": (lambda: windows.predict_large(fast, large, core=core_px), mm2(core_px)),
    }
    if has_amx():
        half = cerberus.for_inference(network()).to(torch.bfloat16)
        out["large_bf16"] = (lambda: windows.predict_large(half, large, core=core_px), mm2(core_px))
    return out


def network() -> cerberus.Cerberus:
    torch.manual_seed(0)
    module = cerberus.build({}, cerberus.ALL_HEADS)
    cerberus.initialise(module)
    return module.eval()


def as_published(module: cerberus.Cerberus, image: np.ndarray) -> list[torch.Tensor]:
    """One window through the network, planes apart (NCHW), probabilities of the maps."""
    x = windows.as_input(windows.cut(image, (-windows.PAD_PX, -windows.PAD_PX, windows.IN_PX, windows.IN_PX)))
    with torch.inference_mode():
        taps = module.taps(x.contiguous())
        maps = [module.decode(name, taps, 0).softmax(dim=1) for name in cerberus.DECODERS]
        return [*maps, module.patch_class(taps[4])]


def measure(runs: dict[str, tuple[Callable[[], object], float]], rounds: int) -> dict[str, list[float]]:
    """Name -> seconds per mm² of each round; the first, unmeasured run of each warms it up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 1):
        for name, (run, area_mm2) in runs.items():
            start = time.perf_counter()
            run()
            if round_number:
                seconds[name].append((time.perf_counter() - start) / area_mm2)
    return seconds


def mm2(side_px: int) -> float:
    return (side_px * MPP / 1000.0) ** 2


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
