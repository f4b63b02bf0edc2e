"""The course of a run: log.csv (losses), validation.csv (figures), and TensorBoard where it is asked for."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from geryon.atomic import whole_file
from geryon.errors import MissingPartError
from geryon.train.batches import Batch, Sample
from geryon.train.step import Aim, Stepped

LOG, VALIDATION, BOARD = "log.csv", "validation.csv", "tensorboard"
Board = Callable[[int, Mapping[str, float]], None]
"""Takes a step and figures by name."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Sums over the steps since the last row of the log."""

    since: int
    sources: Mapping[str, tuple[str, ...]]
    """{map: sources that know it}."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    by_source: dict[str, Tensor] = field(default_factory=dict)
    """{map: sums [source, k]}."""
    waited: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def add(self, fed: Sequence[Batch], stepped: Stepped, waited: float) -> None:
        """Take one step in; `waited` is how long the network waited for its batches."""
        for name, value in stepped.figures.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1
        for batch, parts in zip(fed, stepped.parts, strict=True):
            for name, part in parts.items():
                of = self.sources[name]
                # A crop may be asked without knowing anything of this map; it adds nothing wherever it is put.
                places = [of.index(s) if s in of else 0 for s in (batch.crops[i].source for i in part.crops.tolist())]
                table = self.by_source.setdefault(name, part.sums.new_zeros(len(of), part.sums.shape[1]))
                table.index_add_(0, torch.tensor(places, dtype=torch.long, device=table.device), part.sums)
        self.waited += waited

    def figures(self, aims: Mapping[str, Aim]) -> dict[str, float]:
        """{"total", map, "gradient": mean over steps; "map, source": loss over its crops}; NaN where unknown."""
        means = {name: float(value) / self.counts[name] for name, value in self.sums.items()}
        figures = {name: means.get(name, float("nan")) for name in ("total", *aims, "gradient")}
        for name, aim in aims.items():
            for i, source in enumerate(self.sources[name]):
                sums = self.by_source.get(name)
                known = sums is not None and bool(sums[i].any())
                figures[by(name, source)] = float(aim.loss.value(sums[i])) if sums is not None and known else _UNKNOWN
        return figures


_UNKNOWN = float("nan")


def by(figure: str, source: str) -> str:
    """The name of a figure on one source alone."""
    return f"{figure}, {source}"


def sources_of(samples: Sequence[Sample], maps: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """{map: the sources that know anything of it}."""
    return {m: tuple(sorted({s.source for s in samples if m in s.weights and s.weights[m].any()})) for m in maps}


def rewind(path: Path, step: int) -> None:
    """Drop rows beyond `step`: a resumed run writes them again."""
    if not path.exists():
        return
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    kept = rows[:1] + [row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) <= step]
    with whole_file(path) as fresh:
        _write(fresh, kept, "w")


def append(path: Path, row: Mapping[str, object]) -> None:
    """Add one row; the first gives the header, and later ones must have its columns."""
    rows: list[Iterable[object]] = [row.values()]
    _write(path, rows if path.exists() else [row.keys(), *rows], "a")


def _write(path: Path, rows: Iterable[Iterable[object]], mode: str) -> None:
    with path.open(mode, newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def told(value: float) -> str:
    """A number of a row; nothing where it is not known."""
    return "" if value != value else f"{value:.6g}"


def check_board() -> None:
    """Say what is missing where TensorBoard is asked for and can't be had."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingPartError(
            what="TensorBoard is not installed", where="train.tensorboard", mend='pip install "geryon[tensorboard]"'
        ) from error


def open_board(out: Path, step: int) -> Board:
    """Writes figures where TensorBoard finds them; those of a step beyond `step` by an earlier run are hidden."""
    check_board()
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(out / BOARD), purge_step=step + 1)

    def write(step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            if value == value:
                writer.add_scalar(name.replace(", ", "/"), value, step)
        writer.flush()

    return write
