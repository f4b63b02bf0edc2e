"""Which network? Equal steps on CoNSeP and GlaS training images, scored on held-back images and patients.

    python -m benchmarks.topology [--data DIR] [--steps 400] [--out FOLDER] [--only VARIANT ...] [--cost]

Lines of each variant: nuclei PQ (CoNSeP images K with K % 3 == 0), gland F1 and Dice (GlaS patients held back, no
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

from benchmarks.machine import Seconds, interleaved, say, skip
from benchmarks.nets import gflop_a_mpx
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
            tell_cost(name, model, taken[name])
        return 0
    if not (args.data / "consep").is_dir() or not (args.data / "glas").is_dir():
        skip("topology", "nuclei and glands of held-back images", "consep and glas are not under --data")
        return 0
    held = {name: held_back(name, args.data) for name in ("consep", "glas")}
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        done = args.out / f"{name.replace(', ', '-').replace(' ', '_')}.json"
        if not done.exists():
            done.write_text(json.dumps(measured(name, args, held), indent=1), encoding="utf-8")
        size = {"steps": args.steps, "seed": args.seed}
        for figure, (value, low, high) in json.loads(done.read_text(encoding="utf-8")).items():
            told = {"value": value, "low": low, "high": high}
            say("topology", f"{figure}, {name}", **told, unit=figure.split()[-1], better="higher", size=size)
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
    """Train the variant and score it: figure -> value, lower and upper end of its interval."""
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
                figures[f"{task} {metric}"] = [row.value, row.low, row.high]
    return figures


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


def seconds(models: dict[str, Model]) -> dict[str, Seconds]:
    """What a default window takes through each network, the networks in turn."""
    side = STEP_PX + 2 * HALO_PX
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    box = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=side, height=side).box
    calls = {name: partial(model.maps, [image], [box]) for name, model in models.items()}
    return interleaved(calls, 5)


def tell_cost(name: str, model: Model, taken: Seconds) -> None:
    """What a network takes: seconds of a window on one core, operations, parameters."""
    network = model.engine.network  # type: ignore[attr-defined]
    told = {"gflop_a_mpx": gflop_a_mpx(network), "parameters": sum(p.numel() for p in network.parameters())}
    size = {"window_px": STEP_PX + 2 * HALO_PX}
    say("topology", f"a window on one core, {name}", **taken.each(1), unit="s", size=size, **told)


if __name__ == "__main__":
    sys.exit(main())
