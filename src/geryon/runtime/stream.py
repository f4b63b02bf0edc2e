"""Bounded stages in one process: read ahead, work in batches, give back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """How many threads do what; what is in flight, and so memory, is bounded by these."""

    readers: int = 1
    """Threads that read."""
    workers: int = 1
    """Threads that run the network."""
    batch: int = 1
    """Items a call of the network takes."""


def stream(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    work: Callable[[Sequence[Read]], Sequence[Done]],
    lanes: Lanes,
) -> Generator[tuple[Item, Done], None, None]:
    """Each item with what `work` makes of what `read` gives for it, in the order of the items.

    Threads suffice, since decoders and networks let go of the interpreter's lock. Close it, and they are at an end.
    """
    readers = ThreadPoolExecutor(lanes.readers, thread_name_prefix="read")
    workers = ThreadPoolExecutor(lanes.workers, thread_name_prefix="work")
    try:
        ready = ahead(readers, read, items, lanes.readers + lanes.batch)
        done = ahead(workers, lambda batch: work([r for _, r in batch]), batched(ready, lanes.batch), lanes.workers)
        for batch, results in done:
            yield from ((item, result) for (item, _), result in zip(batch, results, strict=True))
    finally:
        readers.shutdown(wait=True, cancel_futures=True)
        workers.shutdown(wait=True, cancel_futures=True)


def ahead(
    pool: ThreadPoolExecutor, call: Callable[[Item], Done], items: Iterable[Item], most: int
) -> Iterator[tuple[Item, Done]]:
    """Each item with call(item), in order, at most `most` calls under way or waiting to be taken."""
    under_way: deque[tuple[Item, Future[Done]]] = deque()
    for item in items:
        under_way.append((item, pool.submit(call, item)))
        if len(under_way) > most:
            first, future = under_way.popleft()
            yield first, future.result()
    while under_way:
        first, future = under_way.popleft()
        yield first, future.result()


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
