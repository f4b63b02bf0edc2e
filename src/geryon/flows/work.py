"""One run's slide, model, plan and question, and the names under which its parts are kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from geryon import __version__
from geryon.flows.plan import Cell, Plan
from geryon.flows.question import Question
from geryon.nets.model import Model
from geryon.slides.normalise import Normalised
from geryon.slides.reader import Slide
from geryon.slides.tissue import LowPower, TissueMask

UNREADABLE = "unreadable-"
"""Begins the name of a window that could not be read."""
IN_PART = "in-part-"
"""Before that name where some of it could be read."""
PARTS_FORMAT = 3
"""Raised when the content of kept tiles changes its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of the slide at low power."""

    seen: LowPower
    tissue: TissueMask


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One run's slide, model, plan and the folder of its results."""

    slide: Slide
    net: Model
    plan: Plan
    folder: Path
    question: Question
    stain: Normalised = Normalised()
    """What becomes of the pixels before the network sees them."""


def digest(work: Work) -> str:
    """What must be equal for finished tiles to be taken over, as a SHA-256."""
    net, plan = work.net, work.plan
    settings = {
        "format": PARTS_FORMAT,
        "version": __version__,
        "question": dict(work.question),
        "tasks": [t.name for t in net.tasks],
        "engine": [net.engine.name, net.engine.precision],
        "work_mpp": plan.work.mpp_x,
        "cutting": asdict(plan.cutting),
        "kept": [list(cell) for cell in plan.kept],
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def part_name(cell: Cell) -> str:
    """The name under which a finished tile is kept."""
    return f"tile-{cell[0]:05d}-{cell[1]:05d}"


def lost_names(cell: Cell) -> tuple[str, str]:
    """The names under which it is kept that a window could not be read at all, and that it could be in part."""
    name = f"{UNREADABLE}{cell[0]:05d}-{cell[1]:05d}"
    return name, f"{IN_PART}{name}"
