"""How much faster are large windows for Cerberus' network than its published windows of 448 to 144?

    python -m benchmarks.cerberus_window [--threads N] [--rounds N] [--core PX]

Ways are timed in turn, so that all see the same load. Weights are
random: time does not depend on them. `published` runs the network as built (float32, norms apart, all maps of the
whole window); the published tile mode computes each window twice, which is not counted here.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import interleaved, say, skip
from geryon.errors import MissingPartError
from geryon.nets.cores import has_amx
from geryon.nets.engine import Engine, open_engine
from geryon.nets.foreign import cerberus_windows as windows
from geryon.nets.foreign.cerberus import document_of
from geryon.nets.model import heads_of
from geryon.nets.topologies import cerberus
from geryon.tasks import cerberus_decoding as rules
from geryon.tasks.metrics import object_metric

MPP = 0.5
ENGINE_CORE_PX = 1024
"""Core of the windows that the imported model says for itself; one for each lane of the engine at a time."""
ASKED, ASKED_PQ = 35.0, 0.97
REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "cerberus"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=windows.CORE_PX)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    runs = ways(args.core)
    taken = interleaved({name: run for name, (run, _) in runs.items()}, args.rounds)
    area_mm2 = {name: area for name, (_, area) in runs.items()}
    size = {"core_px": args.core, "margin_px": windows.MARGIN_PX, "threads": args.threads}
    for name, seconds in taken.items():
        say("cerberus_window", f"a mm², {name}", **seconds.each(area_mm2[name]), unit="s/mm²", size=size)
    for name in taken:
        if name.startswith("large"):
            times = [
                (a / area_mm2["published"]) / (b / area_mm2[name])
                for a, b in zip(taken["published"].wall, taken[name].wall, strict=True)
            ]
            say(
                "cerberus_window",
                f"{name} against published, times faster",
                value=statistics.median(times),
                unit="ratio",
                low=min(times),
                high=max(times),
                rounds=len(times),
                better="higher",
                asked=ASKED if name == list(taken)[-1] else None,
                size=size,
            )
    agreement()


def agreement() -> None:
    """PQ of the objects of the default windows against float32 with margin 152.

    On the image of the reference's tile case with its weight rule: published weights are not at hand here.
    """
    if not (REFERENCE / "tile_case.npz").exists():
        skip("cerberus_window", "objects against float32 with margin 152", "needs shared/reference/cerberus")
        return
    with np.load(REFERENCE / "tile_case.npz", allow_pickle=False) as file:
        image = np.asarray(file["image"])
    expected = objects(windows.predict_large(reference_network(), image, margin=152))
    for dtype in (torch.float32, torch.bfloat16):
        found = objects(windows.predict_large(reference_network().to(dtype), image))
        for task, labels in expected.items():
            precision = str(dtype).removeprefix("torch.")
            say(
                "cerberus_window",
                f"{task} against those of float32 with margin 152, PQ",
                value=object_metric(found[task], labels)["pq"],
                unit="PQ",
                better="higher",
                asked=ASKED_PQ,
                size={"precision": precision, "margin_px": windows.MARGIN_PX},
                objects=int(labels.max()),
            )


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
    if (engine := in_openvino()) is not None:
        side, lanes = ENGINE_CORE_PX + 2 * windows.MARGIN_PX, engine.lanes
        images = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(lanes)]
        pool = ThreadPoolExecutor(lanes)
        out[f"large, OpenVINO {engine.precision}"] = (
            lambda: list(pool.map(lambda image: engine.maps([image], []), images)),
            lanes * mm2(ENGINE_CORE_PX),
        )
    if has_amx():
        half = cerberus.for_inference(network()).to(torch.bfloat16)
        out["large_bf16"] = (lambda: windows.predict_large(half, large, core=core_px), mm2(core_px))
    return out


def in_openvino() -> Engine | None:
    """What `auto` takes for imported weights on a processor; None where it is not installed."""
    document = document_of(Path(__file__))
    tensors = {name: value.numpy() for name, value in network().state_dict().items()}
    heads = heads_of(document.task_values(), document.mpp)
    try:
        return open_engine("openvino", document, tensors, heads)
    except MissingPartError:
        return None


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


def mm2(side_px: int) -> float:
    return (side_px * MPP / 1000.0) ** 2


if __name__ == "__main__":
    main()
