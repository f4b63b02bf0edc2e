"""geryon evaluate: a model against a labelled source, as a table."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geryon.atomic import whole_file
from geryon.cli.names import add_tasks

if TYPE_CHECKING:
    import numpy as np

    from geryon.train.evaluate import Row

HELP = "score a model on a labelled source, with intervals and floors"
COLOURS = ((0, 160, 0), (230, 0, 0), (0, 90, 255), (255, 170, 0))
TRUTH = (0, 0, 0)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("model", help="name of a shipped model, or a .safetensors file")
    parser.add_argument("--source", required=True, help="name of the labelled source, such as glas")
    parser.add_argument("--root", type=Path, help="folder that holds the source's files (without --recipe: needed)")
    parser.add_argument("--recipe", type=Path, help="the recipe that describes the source, such as your own files")
    parser.add_argument("--data", type=Path, default=Path(), help="folder that the roots of the recipe lie in")
    parser.add_argument("--split", type=Path, metavar="FILE", help="only images that this split.json did not train on")
    parser.add_argument("--only", default="", metavar="PREFIX", help="only images whose name begins so, such as testA")
    parser.add_argument("--groups", default="", help="only these groups (patients), comma-separated")
    add_tasks(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write overlays there: found in colour, truth in black")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table, return the exit code."""
    from geryon.nets.model import load_model
    from geryon.train.evaluate import Look, evaluate

    source, root = source_of(args)
    cases = list(source.cases(root))
    unseen = not_trained_on(cases, args.split, args.source) if args.split else cases
    chosen = choose(unseen, only=args.only, groups=args.groups, where=str(root))
    ids = {id(case) for case in chosen}
    rest = [case for case in cases if id(case) not in ids]
    seen = overlays(args.out) if args.out else None
    look = Look(source=args.source, seen=seen, unseen=args.split is not None)
    tell = getattr(args, "tell", None)
    extra = {"tell": tell} if tell else {}
    result = evaluate(load_model(args.model), chosen, tasks=args.tasks, train_cases=rest, look=look, **extra)
    print(table(result.rows))
    if args.json:
        with whole_file(args.json) as fresh:
            fresh.write_text(json.dumps(result.document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def source_of(args: argparse.Namespace) -> tuple[Any, Path]:
    """The source and its folder: of the table, or as the recipe describes it."""
    from geryon import plugins
    from geryon.errors import UsageError
    from geryon.train.source import SOURCES

    if args.recipe:
        from geryon.train.recipe import read_recipe

        source, root = read_recipe(args.recipe).source(args.source)
        return source, args.root or args.data / root
    if args.root is None:
        raise UsageError(
            what="--root is needed", mend="give the folder of the source, or the --recipe that describes it"
        )
    return plugins.find(SOURCES, "geryon.sources", args.source), args.root


def not_trained_on(cases: Sequence[Any], split: Path, source: str) -> list[Any]:
    """The cases that a saved split does not put on the side of training; those that it does not name are new."""
    from geryon.train import splits

    trained = splits.names_of(splits.read(split), source, splits.TRAIN)
    return [case for case in cases if case.name not in trained]


def choose(cases: Sequence[Any], *, only: str, groups: str, where: str) -> list[Any]:
    """The cases whose name begins with `only` and whose group is named; an error where none is left."""
    from geryon.errors import UsageError

    wanted = {group.strip() for group in groups.split(",") if group.strip()}
    chosen = [c for c in cases if c.name.startswith(only) and (not wanted or str(c.group) in wanted)]
    if not chosen:
        asked = " and ".join(filter(None, [f"--only {only}" if only else "", f"--groups {groups}" if groups else ""]))
        raise UsageError(
            what=f"no image is left by {asked or 'this source and split'}",
            where=where,
            mend="see the names in the source's table",
        )
    return chosen


def table(rows: Sequence[Row]) -> str:
    """Figures as lines of aligned columns, each protocol once below."""
    protocols = list(dict.fromkeys(row.protocol for row in rows))
    lines = [("source", "task", "metric", "by", "value", "95 % interval", "images", "objects", "protocol")]
    for row in rows:
        span = "" if math.isnan(row.low) else f"{_number(row.low)} to {_number(row.high)}"
        figures = (_number(row.value), span, str(row.images), str(row.objects))
        lines.append((row.source, row.task, row.metric, row.by, *figures, f"[{protocols.index(row.protocol) + 1}]"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    body = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*body, "", *(f"[{i}] {text}" for i, text in enumerate(protocols, start=1))])


def _number(value: float) -> str:
    """Three decimals below ten, one above; a dash where nothing is defined."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def overlays(out: Path) -> Callable[[Any, np.ndarray, Any], None]:
    """A listener that writes one picture an image and task into `out`."""
    out.mkdir(parents=True, exist_ok=True)

    def seen(case: Any, image: np.ndarray, prediction: Any) -> None:
        for task, objects in prediction.objects.items():
            picture = drawn(image, case, task, objects)
            _write_jpeg(out / f"{case.name}_{task}.jpg", picture)

    return seen


def drawn(image: np.ndarray, case: Any, task: str, objects: Any) -> np.ndarray:
    """The image with found outlines in the colour of their class and true rims in black."""
    import cv2
    import numpy as np

    picture = image.copy()
    if task in case.labels and (truth := case.labels[task]().objects) is not None:
        size = (image.shape[1], image.shape[0])
        truth = cv2.resize(truth.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
        rim = cv2.morphologyEx(truth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        picture[rim] = TRUTH
    for i in range(len(objects)):
        colour = COLOURS[int(objects.p[i].argmax()) % len(COLOURS)] if objects.p.shape[1] else COLOURS[0]
        rings = [np.round(ring - 0.5).astype(np.int32) for ring in objects.outlines.rings(i)]
        cv2.polylines(picture, rings, isClosed=True, color=colour, thickness=1)
    return picture


def _write_jpeg(path: Path, picture: np.ndarray) -> None:
    """Write an RGB image."""
    import cv2

    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    with whole_file(path) as fresh:
        fresh.write_bytes(data.tobytes())
