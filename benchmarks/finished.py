"""What benchmarks of the end of a run begin with: a synthetic specimen, segmented once by the shipped network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.repeated import repeated_slide
from geryon.flows.plan import Cell, Cutting, Plan, make_plan
from geryon.flows.reading import read_window
from geryon.flows.segment import Options, decoded, segment_slide
from geryon.nets.model import HALO_PX, STEP_PX, Model, load_model
from geryon.runtime.stream import Lanes, stream
from geryon.slides.reader import Slide
from geryon.store.run import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What every tile of a slide holds, before seams are closed."""

    slide: Slide
    net: Model
    plan: Plan
    tiles: dict[Cell, dict[str, Any]]
    """Cell -> task name -> what was decoded."""


def run_of(tissue_mm2: float, folder: Path, model: str = "geryon-s") -> tuple[Slide, RunRecord]:
    """The slide and its finished run in `folder`."""
    slide = repeated_slide(tissue_mm2)
    options = Options(use_mask=False)
    return slide, segment_slide(slide, load_model(model), folder, options=options, tell=lambda event: None)


def found_in(tissue_mm2: float, tile_px: int, model: str = "geryon-s") -> Found:
    """All tiles of a slide, decoded."""
    slide, net = repeated_slide(tissue_mm2), load_model(model)
    cutting = Cutting(window_px=STEP_PX, halo_px=HALO_PX, tile_px=tile_px)
    plan = make_plan(slide.frame, slide.grid_mpp(net.mpp), net, has_tissue=lambda box: True, cutting=cutting)
    maps = bare(slide, net, plan)()
    return Found(slide=slide, net=net, plan=plan, tiles=dict(decoded(net, plan, plan.cells, iter(maps))))


def bare(slide: Slide, net: Model, plan: Plan) -> Callable[[], list[tuple[Cell, Any]]]:
    """A call of the network alone over all windows of a plan, halo included; the pixels are read before.

    It gives each window's maps, in order.
    """
    outer = [plan.window(cell).outer for cell in plan.kept]
    read = dict(zip(plan.kept, ((read_window(slide, box).image, box) for box in outer), strict=True))
    lanes = Lanes(workers=net.engine.lanes, batch=net.engine.batch)

    def run() -> list[tuple[Cell, Any]]:
        answer = stream(plan.kept, read.__getitem__, lambda b: net.maps([i for i, _ in b], [o for _, o in b]), lanes)
        return list(answer)

    return run
