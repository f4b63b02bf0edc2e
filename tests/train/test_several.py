"""Two processes with half of each batch learn what one process with the whole of it learns."""

import csv
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from geryon.train import checkpoints, feeding, learner, loop, processes, step
from geryon.train.batches import map_shapes
from tests.conftest import ROOT
from tests.train.squares import LOSSES, SETTINGS, square, tiny

FROZEN = replace(SETTINGS, steps=6, freeze_norms_after=0.0, threads=1, epoch_steps=4, balance="uncertainty")
HARD = {**LOSSES, "squares/class": "class_cross_entropy_dice"}


def network() -> torch.nn.Module:
    made = tiny()
    made.stem[3].p = 0.0  # each process draws its own dropout
    return made


def learn(out: Path) -> None:
    """Gradients of the first batches, then a short run; called here and in each of two processes."""
    torch.set_num_threads(1)
    samples = [square(seed) for seed in range(8)]
    shapes = map_shapes(samples, tuple(HARD))
    aims = loop.make_aims(samples, HARD, shapes, FROZEN, lambda event: None)
    feed = feeding.make_feed(samples, HARD, FROZEN)
    gradients = {}
    for number in range(4):
        pupil = learner.set_up(network(), FROZEN, learner.choose_place(FROZEN), tuple(aims))
        learner.freeze_norms(pupil.network)
        batch = feeding.make_batch(number, samples=samples, shapes=shapes, feed=feed, settings=FROZEN)
        losses, _ = step.backward(pupil, batch, aims, 1.0)
        processes.add_gradients(pupil.network)
        gradients |= {f"{number} {name}": p.grad for name, p in pupil.network.named_parameters() if p.grad is not None}
        gradients |= {f"{number} loss of {name}": loss for name, loss in losses.items()}
        gradients |= {f"{number} balance of {name}": s.grad for name, s in pupil.balance.items() if s.grad is not None}
    out.mkdir(parents=True, exist_ok=True)
    torch.save(gradients, out / f"gradients_{processes.rank()}.pt")
    done = loop.train(network(), samples, HARD, FROZEN, out=out)
    assert done.step == 6 and done.whole


def apart() -> None:
    """One process of two."""
    with processes.joined("cpu"):
        assert processes.count() == 2
        learn(Path(sys.argv[1]))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("several")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    code = "from tests.train.test_several import apart; apart()"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(out / "two")],
            env={**os.environ, **known, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": paths},
            cwd=ROOT,
        )
        for rank in range(2)
    ]
    before = torch.get_num_threads()
    learn(out / "one")
    torch.set_num_threads(before)
    assert [process.wait(120) for process in started] == [0, 0]
    return out / "one", out / "two"


def test_gradients_are_those_of_the_whole_batch(both: tuple[Path, Path]) -> None:
    one, two = both
    whole = torch.load(one / "gradients_0.pt")
    for rank in range(2):
        halves = torch.load(two / f"gradients_{rank}.pt")
        assert halves.keys() == whole.keys() and len(whole) > 20
        for name, value in whole.items():
            torch.testing.assert_close(halves[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_a_run_of_two_processes_ends_where_that_of_one_ends(both: tuple[Path, Path]) -> None:
    one, two = (checkpoints._read(folder / checkpoints.STATE) for folder in both)
    assert one[0]["step"] == two[0]["step"] == 6
    for name, value in one[1].items():
        if name.startswith(("network/", "ema/", "balance/")):
            torch.testing.assert_close(two[1][name], value, rtol=1e-3, atol=1e-4)


def test_the_first_process_alone_writes(both: tuple[Path, Path]) -> None:
    rows = [list(csv.DictReader((folder / "log.csv").open())) for folder in both]
    assert [[row["step"] for row in each] for each in rows] == [["5"], ["5"]]
    assert float(rows[1][0]["total"]) == pytest.approx(float(rows[0][0]["total"]), rel=1e-4)


def test_alone_nothing_is_shared() -> None:
    assert (processes.rank(), processes.count()) == (0, 1)
    assert processes.agreed([0.25, 1.0], torch.device("cpu")) == [0.25, 1.0]
    with processes.joined("cpu"):
        assert processes.count() == 1
