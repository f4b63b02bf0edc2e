"""One process a name (of a card, say): each takes the next piece of work when it has done the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
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
    bars of several at once would say nothing. A process that dies breaks all futures (BrokenProcessPool).
    """
    # Not forked: CUDA can't be used in a fork of a process that has used it, nor can threads.
    context = get_context("spawn")
    mine, told = context.SimpleQueue(), context.SimpleQueue()
    for name in names:
        mine.put(name)
    listener = Thread(target=_hear, args=(told, tell), name="hear", daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(len(names), mp_context=context, initializer=_begin, initargs=(work, mine, told))
    try:
        yield lambda item: pool.submit(_work, item)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        told.put(None)
        listener.join()


def _hear(told: Any, tell: events.Tell) -> None:
    while (event := told.get()) is not None:
        tell(event)


_work_here: list[Callable[[Any], Any]] = []
"""Of a process that was started here: what it does with an item."""


def _begin(work: Callable[[str, Any, events.Tell], Any], mine: Any, told: Any) -> None:
    name = mine.get()

    def tell(event: events.Event) -> None:
        if isinstance(event, events.Warned):
            told.put(event)

    _work_here.append(lambda item: work(name, item, tell))


def _work(item: Any) -> Any:
    return _work_here[0](item)
