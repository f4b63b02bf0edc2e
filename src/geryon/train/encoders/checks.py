"""What is looked at before encoders are trained or probed: names, first weights, folders of sources, and the split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from geryon.errors import InputError, UsageError
from geryon.train import splits
from geryon.train.check import look
from geryon.train.encoders.bodies import make_body
from geryon.train.encoders.patches import get_patch_task
from geryon.train.encoders.recipe import EncoderRecipe
from geryon.train.faults import Fault, of_error, refuse, told
from geryon.train.recipe import SourceChoice
from geryon.train.source import Case
from geryon.train.splits import Item

ANY_MPP = 0.5
"""Public sources tell their own; it is asked for where images are a lab's."""


def check_recipe(recipe: EncoderRecipe, *, data: Path, where: str) -> None:
    """Raises UsageError (2), or InputError (3) where only files are wrong, which tell all faults."""
    cases, faults = look_at(recipe.tasks, data)
    if faults := [*faults_of(recipe, cases), *faults]:
        raise refuse(told(faults), where=where, is_input=all(fault.is_input for fault in faults))


def faults_of(recipe: EncoderRecipe, cases: Sequence[Item]) -> list[Fault]:
    """First weights that can't be had, and sources that the split leaves nothing of on a side; MissingPartError."""
    try:
        make_body(recipe)
        faults = []
    except (UsageError, InputError) as error:
        faults = [of_error(error, "encoder")]
    mine = {task.source for task in recipe.task_values()}
    return faults + splits.faults([case for case in cases if case.source in mine], recipe.split)


def look_at(tasks: Iterable[str], data: Path) -> tuple[list[Item], list[Fault]]:
    """The cases of the tasks' sources below `data`, none of them read; tasks that nobody knows, and sources that can't
    be used."""
    tasks = list(tasks)
    faults = name_faults(tasks)
    known = set(tasks) - {fault.source for fault in faults}
    items: list[Item] = []
    for source in dict.fromkeys(get_patch_task(name).source for name in tasks if name in known):
        cases, wrong, _ = look(SourceChoice(name=source), data, mpp=ANY_MPP)
        items += [_item(source, case) for case in cases]
        faults += wrong
    return items, faults


def _item(source: str, case: Case) -> Item:
    return Item(source=source, group=case.group, name=case.name, stratum=case.stratum)


def name_faults(tasks: Iterable[str]) -> list[Fault]:
    """Tasks that nobody knows."""
    faults = []
    for name in tasks:
        try:
            get_patch_task(name)
        except UsageError as error:
            faults.append(of_error(error, name))
    return faults
