"""One process a name: who does what, what is heard of it, what happens when one dies."""

from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from geryon import events
from geryon.errors import InputError
from geryon.runtime.processes import process_each


def squared(name: str, item: int, tell: events.Tell) -> tuple[str, int, int]:
    if item == 13:
        raise InputError(what="unlucky", where="13")
    if item == 99:
        os._exit(1)
    tell(events.Advanced(stage="squares"))
    tell(events.Warned(text=f"{item} is squared"))
    return name, os.getpid(), item * item


def test_each_name_is_one_process_and_faults_and_warnings_come_back() -> None:
    told: list[events.Event] = []
    with process_each(("a", "b"), squared, told.append) as give:
        futures = [give(item) for item in (*range(10), 13)]
        done = [future.result() for future in futures[:-1]]
        with pytest.raises(InputError, match="unlucky"):
            futures[-1].result()
    assert [square for _, _, square in done] == [item * item for item in range(10)]
    of_name = {name: {pid for n, pid, _ in done if n == name} for name, _, _ in done}
    assert of_name.keys() <= {"a", "b"}
    assert all(len(pids) == 1 for pids in of_name.values()), "a name has one process"
    assert len(set.union(*of_name.values())) == len(of_name), "a process has one name"
    assert os.getpid() not in set.union(*of_name.values())
    assert sorted(e.text for e in told if isinstance(e, events.Warned)) == [f"{i} is squared" for i in range(10)]
    assert len(told) == 10, "what one process advances is not heard"


def test_a_process_that_dies_is_noticed() -> None:
    with process_each(("a",), squared) as give, pytest.raises(BrokenProcessPool):
        give(99).result()
