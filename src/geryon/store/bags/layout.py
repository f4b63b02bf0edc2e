"""Other people's layouts of features: what one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geryon import plugins
from geryon.store.bags import BAGS, GROUP
from geryon.store.features import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One layout: a folder of it holds all slides of a cohort, each file named after its slide.

    One row a cell with tissue, row by row of the grid: the same order in every layout. A slide without tissue gives
    files without rows.
    """

    write: Callable[[Volume, Path], list[Path]]
    """Write the volume into the folder, each file whole or not at all, piece by piece; return the files."""
    check: Callable[[], object] = lambda: None
    """Raises MissingPartError where an optional part that it needs is not installed."""


def get_layout(name: str) -> Layout:
    """The layout of that name, ours or another package's; MissingPartError where it can't be written here."""
    layout: Layout = plugins.find(BAGS, GROUP, name)
    layout.check()
    return layout
