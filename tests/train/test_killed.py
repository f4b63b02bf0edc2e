"""A run that is killed at any step and started again leaves the weights of one that was not, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from geryon.train import checkpoints, loop
from tests.conftest import ROOT
from tests.train.squares import LOSSES, SETTINGS, square, tiny

RUN = replace(SETTINGS, steps=60, threads=2, log_steps=1, epoch_steps=4, batches="fixed", rare_power=0.5)


def learn(out: Path, **said) -> loop.Trained:
    torch.set_num_threads(1)
    return loop.train(tiny(), [square(seed) for seed in range(8)], LOSSES, RUN, out=out, **said)


def slowly() -> None:
    """In a process of its own, slow enough to be met."""
    learn(Path(sys.argv[1]), stop=lambda: time.sleep(0.02) is not None)


def test_killed_at_a_random_step_and_resumed_is_bit_for_bit_the_uninterrupted_run(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    log, goal = tmp_path / "killed" / "log.csv", random.SystemRandom().randrange(3, 45)
    code = "from tests.train.test_killed import slowly; slowly()"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, str(log.parent)], cwd=ROOT, env=env)
    whole = learn(tmp_path / "whole")
    while process.poll() is None and not (log.exists() and len(log.read_bytes().splitlines()) > goal):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was met while it learnt"
    again = learn(log.parent)
    torch.set_num_threads(before)
    assert again.step == whole.step == 60
    weights, expected = again.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in expected.items()), f"killed after step {goal}"
    states = [checkpoints._read(tmp_path / name / checkpoints.STATE)[1] for name in ("whole", "killed")]
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())
    rows = [
        [line.split(b",")[0] for line in (tmp_path / n / "log.csv").read_bytes().splitlines()]
        for n in ("whole", "killed")
    ]
    assert rows[0] == rows[1]
