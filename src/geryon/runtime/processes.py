"""One process a name (of a card, say): each takes the next piece of work when it has done the one before."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, TypeVar

from geryon import events

Item = TypeVar("Item")
Done = TypeVar("Done")


@contextmanager
def process_each(
    names: Sequence[str], work: Callable[[str, Item, events.Tell], Done], tell: events.Tell = events.nobody
) -> Iterator[Callable[[Item], Future[Done]]]:
    """Give work(name, item, tell) to processes, one a name; yields what hands in an item.

    `work`, items and results travel, so they must pickle. Of what a process tells only warnings come here: rates and
    bars of several at once would say nothing. A process that dies breaks all futures (BrokenProcessPool). An exception
    in the block, Ctrl-C's too, ends the processes at once, in the middle of an item.
    """
    # Not forked: CUDA can't be used in a fork of a process that has used it, nor can threads.
    context = get_context("spawn")
    mine = context.SimpleQueue()
    for name in names:
        mine.put(name)
    heard, told = context.Pipe(duplex=False)
    held, hold = context.Pipe(duplex=False)
    listener = Thread(target=_hear, args=(heard, tell), name="hear", daemon=True)
    listener.start()
    wires = _Wires(mine=mine, told=told, lock=context.Lock(), held=held)
    pool = ProcessPoolExecutor(len(names), mp_context=context, initializer=_begin, initargs=(work, wires))
    try:
        yield lambda item: pool.submit(_work, item)
    except BaseException:
        hold.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # With the last end that writes the listener ends. Nothing is sent for that: a process that was killed in the
        # middle of a word holds the lock for ever.
        told.close()
        listener.join()
        for end in (hold, held, heard):
            end.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wires:
    """What joins a process to the one that started it."""

    mine: Any
    """Names that no process has taken yet."""
    told: Connection
    """Takes warnings; one at a time, under `lock`."""
    lock: Any
    held: Connection
    """Ends when the other process lets go of it, or is gone."""


def _hear(heard: Connection, tell: events.Tell) -> None:
    while True:
        try:
            event = heard.recv()
        except (EOFError, OSError):  # OSError: the last one died in the middle of a word
            return
        tell(event)


_work_here: list[Callable[[Any], Any]] = []
"""Of a process that was started here: what it does with an item."""


def _begin(work: Callable[[str, Any, events.Tell], Any], wires: _Wires) -> None:
    # Ctrl-C reaches every process of the terminal. A pool's process takes it for the end of one item and begins the
    # next, so the one that started it decides alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(wires.held,), name="end", daemon=True).start()
    name = wires.mine.get()

    def tell(event: events.Event) -> None:
        if isinstance(event, events.Warned):
            with wires.lock:
                wires.told.send(event)

    _work_here.append(lambda item: work(name, item, tell))


def _end_with(held: Connection) -> None:
    """End this process when nobody holds it any more; what it writes is whole or not there at any time."""
    with suppress(EOFError, OSError):
        held.recv()
    os._exit(1)


def _work(item: Any) -> Any:
    return _work_here[0](item)
