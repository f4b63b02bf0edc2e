"""What is looked at before an encoder is trained or probed: names of tasks, and the folders of their sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from geryon.errors import UsageError
from geryon.train.check import look
from geryon.train.encoders.patches import get_patch_task
from geryon.train.faults import Fault, of_error
from geryon.train.recipe import SourceChoice

ANY_MPP = 0.5
"""Public sources tell their own; it is asked for where images are a lab's."""


def folder_faults(tasks: Sequence[str], data: Path) -> list[Fault]:
    """Tasks that nobody knows, and sources whose images are not below `data`; no image is decoded."""
    faults = name_faults(tasks)
    known = set(tasks) - {fault.source for fault in faults}
    for source in dict.fromkeys(get_patch_task(name).source for name in tasks if name in known):
        faults += look(SourceChoice(name=source), data, mpp=ANY_MPP)[1]
    return faults


def name_faults(tasks: Iterable[str]) -> list[Fault]:
    """Tasks that nobody knows."""
    faults = []
    for name in tasks:
        try:
            get_patch_task(name)
        except UsageError as error:
            faults.append(of_error(error, name))
    return faults
