"""Do two workers of one thread each do twice the work of one?

    python -m benchmarks.workers [--mm2 1] [--rounds 3] [--engine auto] [--model geryon-s]

A worker is a process bound to one core, so that engines, readers and decoders of it share one thread's time; it
segments a specimen from pixels to files. One worker alone and two at once, in turn. The value is what two do in a
second over what one does. `same_core` says that the two cores are threads of one core of the processor, which can't
do twice the work.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.machine import say, skip

ASKED = 1.8
ALONE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mm2", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--model", default="geryon-s")
    parser.add_argument("--core", type=int, help="be a worker on this core")
    args = parser.parse_args()
    if args.core is not None:
        work(args)
        return
    question, size = "two workers of one thread against one", {"mm2": args.mm2, "model": args.model}
    size["engine"] = args.engine
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        skip("workers", question, "it takes two cores to which processes can be bound", **size)
        return
    pair = two_of(cores)
    workers = [start(core, args) for core in pair]
    turns = [(together(workers[:1]), together(workers)) for _ in range(args.rounds + 1)][1:]
    for worker in workers:
        worker.stdin.close()
        worker.wait()
    gains = [2 * alone / both for alone, both in turns]
    say(
        "workers",
        question,
        value=median(gains),
        unit="ratio",
        low=min(gains),
        high=max(gains),
        rounds=args.rounds,
        asked=ASKED,
        better="higher",
        size=size,
        one_s=median(alone for alone, _ in turns),
        two_s=median(both for _, both in turns),
        same_core=pair[1] in siblings(pair[0]),
    )


def two_of(cores: list[int]) -> tuple[int, int]:
    """Two cores, of two cores of the processor where there are such."""
    others = [core for core in cores[1:] if core not in siblings(cores[0])]
    return cores[0], (others or cores[1:])[0]


def siblings(core: int) -> set[int]:
    """The cores that are threads of the same core of the processor, as the system tells."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        parts = [part.split("-") for part in path.read_text(encoding="ascii").strip().split(",")]
    except OSError:
        return {core}
    return {number for part in parts for number in range(int(part[0]), int(part[-1]) + 1)}


def start(core: int, args: argparse.Namespace) -> subprocess.Popen[str]:
    """A worker that has loaded everything and waits for a line."""
    words = ["--core", str(core), "--mm2", str(args.mm2), "--engine", args.engine, "--model", args.model]
    command = [sys.executable, "-m", "benchmarks.workers", *words]
    environment = {**os.environ, **ALONE}
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    heard(worker)
    return worker


def together(workers: list[subprocess.Popen[str]]) -> float:
    """Seconds until all of them have done their specimen, begun at once."""
    began = perf_counter()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        heard(worker)
    return perf_counter() - began


def heard(worker: subprocess.Popen[str]) -> None:
    if worker.stdout.readline() != "done\n":
        raise RuntimeError(f"a worker ended early, with {worker.wait()}; its own message stands above")


def work(args: argparse.Namespace) -> None:
    """A worker: a specimen for each line that comes in."""
    os.sched_setaffinity(0, {args.core})  # before anything counts cores or starts threads
    from benchmarks.repeated import repeated_slide
    from geryon.flows.segment import Options, segment_slide
    from geryon.nets.model import load_model

    net, options = load_model(args.model, engine=args.engine), Options(use_mask=False)
    slides = [repeated_slide(0.25), repeated_slide(args.mm2)]
    with tempfile.TemporaryDirectory() as folder:
        segment_slide(slides[0], net, Path(folder) / "warm", options=options, tell=lambda event: None)
        sys.stdout.write("done\n")
        sys.stdout.flush()
        for number, _ in enumerate(sys.stdin):
            out = Path(folder) / str(number)
            segment_slide(slides[1], net, out, options=options, tell=lambda event: None)
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
