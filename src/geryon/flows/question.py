"""What a run is asked, as digests: finished results and kept tiles answer the same question only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from geryon.errors import UsageError
from geryon.flows.plan import Cutting
from geryon.nets.model import Model
from geryon.slides.identity import fingerprint
from geryon.slides.normalise import get_normaliser
from geryon.slides.reader import Slide
from geryon.store.features import NORMALISED
from geryon.store.run import RunRecord

Question = Mapping[str, str]
"""{"slide", "resolution", "model", "mask", "windows"}: digests of what the results depend on, tasks apart.

With a normalised stain that too: "stain normalisation".
"""


def question(slide: Slide, net: Model, cutting: Cutting, *, mask: Path | None, use_mask: bool | None) -> Question:
    """What these results depend on. The size of tiles is no part of it: it changes nothing."""
    windows = {name: size for name, size in asdict(cutting).items() if name != "tile_px"}
    return {
        **question_of_slide(slide),
        "model": net.sha256,
        "mask": digest_of([use_mask, fingerprint(mask)]),
        "windows": digest_of(windows),
    }


def question_of_slide(slide: Slide) -> Question:
    """What all results of a slide depend on."""
    return {"slide": digest_of([slide.size, fingerprint(slide.path)]), "resolution": digest_of(slide.mpp)}


def normalisation(method: str) -> Question:
    """What is added to the question where the stain is normalised: the method and what slides are made like."""
    return {NORMALISED: digest_of([method, get_normaliser(method).target])} if method else {}


def refuse_another(record: RunRecord, asked: Question, net: Model) -> None:
    """UsageError where a finished folder answers another question than the one asked now."""
    other = [what for what in {**asked, **record.question} if record.question.get(what) != asked.get(what)]
    missing = [task.name for task in net.tasks if task.name not in record.tasks]
    reasons = [f"another {what}" for what in other] + ([f"no {', '.join(missing)}"] if missing else [])
    if reasons:
        raise UsageError(
            what=f"holds the finished results of {', '.join(reasons)}",
            where=str(record.folder),
            mend="give another --out, or delete that folder",
        )


def digest_of(value: object) -> str:
    """SHA-256 of a value of plain numbers, texts, lists and dictionaries."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
