"""Which network? Equal steps on CoNSeP and GlaS training images, scored on held-back images and patients.

    python -m benchmarks.topology [--data DIR] [--steps 400] [--out FOLDER] [--only VARIANT ...] [--cost]

One JSON line a variant: nuclei PQ (CoNSeP images K with K % 3 == 0), gland F1 and Dice (GlaS patients held back, no
testA image), seconds of a window of 1216 px on one core, GFLOP a megapixel, parameters. A variant that FOLDER knows is
not run again, so a stopped comparison goes on. `--cost` trains nothing and measures seconds, operations and parameters
of untrained networks, in turn. Without the data it says so and exits 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import about, interleaved, say
from geryon import plugins
from geryon.nets.engine import open_engine
from geryon.nets.model import HALO_PX, STEP_PX, Model, heads_of, load_model
from geryon.nets.topologies import TOPOLOGIES
from geryon.nets.weights import ModelDocument, task_document
from geryon.space.boxes import Frame
from geryon.train.evaluate import Look, evaluate
from geryon.train.fit import Where, fit
from geryon.train.recipe import NetChoice, Recipe, SourceChoice, Split
from geryon.train.settings import LoopSettings
from geryon.train.source import Case, get_source

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
VARIANTS: dict[str, NetChoice] = {
    "hybrid, ImageNet": NetChoice(settings={"encoder": "hybrid"}, start="imagenet"),
    "hybrid, scratch": NetChoice(settings={"encoder": "hybrid"}),
    "hybrid of 16 and 48, ImageNet": NetChoice(
        settings={"encoder": "hybrid", "fine": [16, 48], "decoder": [16, 48, 64, 96, 96]}, start="imagenet"
    ),
    "lite0, ImageNet": NetChoice(settings={"encoder": "lite0"}, start="imagenet"),
    "plain, scratch": NetChoice(settings={"encoder": "plain"}),
    "geryon-b, ImageNet": NetChoice(name="geryon-b", start="imagenet"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs") / "topology")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--cost", action="store_true")
    args = parser.parse_args()
    if args.cost:
        models = {name: untrained(recipe_of(name, args, {"consep": [], "glas": []})) for name in args.only}
        taken = seconds(models)
        for name, model in models.items():
            say(benchmark="topology", variant=name, **cost(model, taken[name]), **about())
        return 0
    if not (args.data / "consep").is_dir() or not (args.data / "glas").is_dir():
        say(benchmark="topology", skipped="consep and glas are not under --data")
        return 0
    held = {name: held_back(name, args.data) for name in ("consep", "glas")}
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        done = args.out / f"{name.replace(', ', '-').replace(' ', '_')}.json"
        if not done.exists():
            done.write_text(json.dumps(measured(name, args, held), indent=1), encoding="utf-8")
        say(**json.loads(done.read_text(encoding="utf-8")))
    return 0


def held_back(source: str, data: Path) -> list[Case]:
    """Every third image of CoNSeP; a third of GlaS' training patients, never an image of testA."""
    cases = list(get_source(source).cases(data / source))
    if source == "consep":
        return [case for case in cases if int(case.name.split("_")[1]) % 3 == 0]
    return [case for case in cases if case.name.startswith("train") and zlib.crc32(str(case.group).encode()) % 3 == 0]


def recipe_of(name: str, args: argparse.Namespace, held: dict[str, list[Case]]) -> Recipe:
    """The same training for every variant."""
    away = {source: tuple(sorted({str(case.group) for case in cases})) for source, cases in held.items()}
    return Recipe(
        name="candidate",
        licence="research",
        tasks=("nuclei", "glands"),
        cut=("nuclei",),
        sources=(SourceChoice(name="consep", scales=(1.0, 0.85)), SourceChoice(name="glas")),
        net=VARIANTS[name],
        split=Split(validation=0.0, held_out={**away, "glas": (*away["glas"], "testA*")}),
        train=LoopSettings(
            steps=args.steps,
            batch=8,
            crop_px=256,
            ema=0.99,
            seed=args.seed,
            threads=1,
            lr_factors={"encoder.context": 0.3} if VARIANTS[name].start else {},
            map_weights={"nuclei/depth": 6.0, "nuclei/class": 0.4, "glands/class": 0.25, "glands/rim": 0.7},
        ),
    )


def measured(name: str, args: argparse.Namespace, held: dict[str, list[Case]]) -> dict[str, Any]:
    """Train the variant and score it."""
    folder = args.out / name.replace(", ", "-").replace(" ", "_")
    recipe = recipe_of(name, args, held)
    fitted = fit(recipe, out=folder, where=Where(data=args.data, pack=args.out / "samples.pack"))
    assert fitted.model is not None
    model = load_model(fitted.model, engine="cpu")
    figures = {}
    for source, task, metrics in (
        ("consep", "nuclei", ("pq", "accuracy")),
        ("glas", "glands", ("object_f1", "object_dice")),
    ):
        found = evaluate(model, held[source], tasks=[task], look=Look(source=source, bright_lumina=False, draws=300))
        for metric in metrics:
            row = found.figure(task, metric)
            if row is not None:
                figures[f"{task} {metric}"] = [round(row.value, 4), round(row.low, 4), round(row.high, 4)]
    return {
        "benchmark": "topology",
        "variant": name,
        "steps": fitted.step,
        **figures,
        **cost(model, seconds({name: model})[name]),
        **about(),
    }


def untrained(recipe: Recipe) -> Model:
    """A model with the recipe's network as it is built."""
    import torch

    tasks = recipe.task_values()
    document = ModelDocument(
        name="untrained",
        version="0",
        topology=recipe.net.name,
        settings=recipe.net.settings,
        tasks=tuple(task_document(task) for task in tasks),
    )
    torch.manual_seed(0)
    heads = heads_of(tasks, recipe.mpp)
    network = plugins.look_up(TOPOLOGIES, "geryon.topologies", recipe.net.name)(recipe.net.settings, heads)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return Model(document=document, sha256="", tasks=tasks, engine=open_engine("cpu", document, tensors, heads))


def seconds(models: dict[str, Model]) -> dict[str, float]:
    """Medians of a default window through each network, the networks in turn."""
    side = STEP_PX + 2 * HALO_PX
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    box = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=side, height=side).box
    calls = {name: partial(model.maps, [image], [box]) for name, model in models.items()}
    return interleaved(calls, 5)


def cost(model: Model, window_seconds: float) -> dict[str, Any]:
    """What a network takes: seconds of a window on one core, operations, parameters."""
    return {
        "window_seconds_one_core": round(window_seconds, 3),
        "gflop_a_mpx": round(gflop_a_mpx(model), 1),
        "parameters": sum(p.numel() for p in model.engine.network.parameters()),  # type: ignore[attr-defined]
    }


def gflop_a_mpx(model: Model) -> float:
    """Multiplications and additions of the network, counted by torch, a megapixel of its input."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = model.engine.network.network  # type: ignore[attr-defined]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 512, 512))
    return float(counter.get_total_flops()) / 512**2 / 1e3


if __name__ == "__main__":
    sys.exit(main())
