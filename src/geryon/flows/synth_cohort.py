"""Write a cohort of synthetic slides: a small file a slide, and a table of what is true of each."""

from __future__ import annotations

import csv
import dataclasses
import json
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from geryon import events
from geryon.atomic import remove, whole_file
from geryon.errors import UsageError
from geryon.flows import synth_about
from geryon.slides.synthetic.cohort import Law, Member, members, survival
from geryon.slides.synthetic.measured import Measured, measured
from geryon.slides.synthetic.slide import FORMAT, SyntheticSlide

TABLE, ABOUT, SLIDES = "table.csv", "cohort.json", "slides"
COLUMNS = (
    *("slide", "patient", "path", "lesion_share", "lesion_mm2", "has_lesion", "grade", "density", "time", "event"),
)


def synth_cohort(
    out: Path | str,
    *,
    slides: int,
    size_um: tuple[float, float],
    seed: int = 0,
    mpp: float = 0.5,
    tell: events.Tell = events.nobody,
) -> Path:
    """Write OUT/slides/*.json (no pixels: they are painted when read), OUT/table.csv and OUT/cohort.json.

    The labels are measured on each slide's layout: lesion_share (malignant share of the glandular area), lesion_mm2
    (area of the malignant glands), has_lesion (0, 1), grade (0 to 3), density (signet ring cells a mm² of tissue),
    and of the patient: time (months) and event (1: died). Names say nothing of them. A cohort that lies there whole is
    left as it is. Returns the table's path.
    """
    if slides < 1:
        raise UsageError(what=f"a cohort of {slides} slides", mend="give --cohort a number above 0")
    out, law, started = Path(out), Law(), time.monotonic()
    asked = {"slides": slides, "size_um": list(size_um), "seed": seed, "mpp": mpp, "format": FORMAT}
    about = synth_about.about({"cohort": asked, "survival": dataclasses.asdict(law)})
    if synth_about.is_about(out / ABOUT, about) and (out / TABLE).exists():
        return out / TABLE
    remove(out / ABOUT)  # it says that all else is there
    tell(events.Started(stage="measure", total=slides, unit="slides"))
    rows: list[dict[str, Any]] = []
    every = members(slides, size_um=size_um, mpp=mpp, seed=seed)
    for patient, some in groupby(every, key=lambda member: member.patient):
        found = []
        for member in some:
            _write_recipe(out / SLIDES / f"{_name(member)}.json", member.slide)
            found.append((member, measured(member.slide)))
            tell(events.Advanced(stage="measure"))
        months, died = survival([of for _, of in found], law, seed=seed, patient=patient)
        rows += [{**_row(member, of), "time": round(months, 2), "event": int(died)} for member, of in found]
    with whole_file(out / TABLE) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    synth_about.keep(out / ABOUT, about)
    tell(events.Finished(stage="measure", seconds=time.monotonic() - started))
    return out / TABLE


def _name(member: Member) -> str:
    return f"s{member.number:05d}"


def _row(member: Member, of: Measured) -> dict[str, Any]:
    return {
        "slide": _name(member),
        "patient": f"p{member.patient:05d}",
        "path": f"{SLIDES}/{_name(member)}.json",
        "lesion_share": round(of.lesion_share, 5),
        "lesion_mm2": round(of.malignant_mm2, 5),
        "has_lesion": int(of.malignant_mm2 > 0),
        "grade": of.grade,
        "density": round(of.density_mm2, 3),
    }


def _write_recipe(path: Path, slide: SyntheticSlide) -> None:
    with whole_file(path, lasting=False) as fresh:
        fresh.write_text(json.dumps(slide.settings(), indent=1) + "\n", encoding="utf-8")
