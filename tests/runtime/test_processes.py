"""One process a name: who does what, what is heard of it, what happens when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

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


LONG_RUN = """
import signal, sys, time
from pathlib import Path
from geryon.runtime.processes import process_each

def work(folder, item, tell):
    (Path(folder) / f"began {item}").touch()
    time.sleep(60)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    with process_each([sys.argv[1]] * 2, work) as give:
        for future in [give(item) for item in range(8)]:
            future.result()
"""


def until(is_so: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.05)
    return is_so()


@pytest.mark.skipif(os.name != "posix", reason="signals to groups of processes")
@pytest.mark.parametrize(
    ("send", "number"), [("killpg", signal.SIGINT), ("kill", signal.SIGINT), ("kill", signal.SIGKILL)]
)
def test_nothing_goes_on_after_the_end(tmp_path: Path, send: str, number: int) -> None:
    """Ctrl-C reaches all processes of a terminal; `kill` the first one only."""
    script = tmp_path / "long.py"
    script.write_text(LONG_RUN, encoding="utf-8")
    words = [sys.executable, str(script), str(tmp_path)]
    run = subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        assert until(lambda: len(list(tmp_path.glob("began *"))) == 2, 60)
        getattr(os, send)(run.pid, number)
        _, said = run.communicate(timeout=20)  # the pipe ends with the last process that could write to it
        assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT) and run.returncode != 0
        assert len(list(tmp_path.glob("began *"))) == 2, "no further item is begun"
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


class Deadly:
    def __reduce__(self) -> str:
        os._exit(1)


def last_words(name: str, item: int, tell: events.Tell) -> None:
    tell(events.Warned(text=Deadly()))  # type: ignore[arg-type]


def test_a_process_that_dies_while_it_tells_holds_nobody_up() -> None:
    """It holds the lock under which all tell."""
    with process_each(("a", "b"), last_words) as give, pytest.raises(BrokenProcessPool):
        give(1).result()
