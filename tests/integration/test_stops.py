"""Processes are stopped at any moment: what is kept stays whole, and a stop is told as one."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SAVE_UNTIL_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from model.state import Checkpoints, Progress, State

LAYOUT = [["w", [20000]]]
folder, seen = Path(sys.argv[1]), 0
begun = time.monotonic()
Checkpoints(folder, job="j", layout=LAYOUT).save(State(Progress(step=1), [np.full(20000, 1, "f4")]))
took_s = time.monotonic() - begun
for kill in range(100):
    child = os.fork()
    if not child:
        checkpoints = Checkpoints(folder, job="j", layout=LAYOUT, generation=kill)
        state, _ = checkpoints.load()
        step = state.progress.step if state else 0
        while True:
            step += 1
            checkpoints.save(State(Progress(step=step), [np.full(20000, step, "f4")]))
    time.sleep(min(1.0, random.uniform(0.0, 0.04 + 6 * took_s)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    state, ignored = Checkpoints(folder, job="j", layout=LAYOUT, generation=kill).load()
    assert state is not None and not ignored, (kill, ignored)
    assert (state.variables[0] == state.progress.step).all()
    assert state.progress.step >= seen, (kill, state.progress.step, seen)
    seen = state.progress.step
checkpoints = Checkpoints(folder, job="j", layout=LAYOUT, generation=100)
state, _ = checkpoints.load()
checkpoints.save(State(Progress(step=seen + 1), state.variables))
print(seen, len(list(folder.glob(".*.tmp"))), len(list(folder.glob("*.skt"))))
"""


def test_a_hundred_kills_at_any_moment_never_leave_a_folder_that_cannot_be_loaded(tmp_path: Path):
    command = [sys.executable, "-c", SAVE_UNTIL_KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    steps, torn, left = map(int, done.stdout.split())
    assert steps > 20  # it did save
    assert torn > 0  # and was killed while it did
    assert left == 2  # what killed processes had no time to remove is gone


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_midst_of_a_query_of_duckdb_is_a_stop(number: signal.Signals):
    code = f"""
import os, sys, threading, duckdb, pipeline.verbs
from pipeline.cli import main

def query(args):
    duckdb.sql("CREATE TABLE sky AS SELECT range % 1000 AS field FROM range(100000)")
    threading.Timer(0.5, os.kill, (os.getpid(), {number:d})).start()
    while True:  # whatever the machine, the stop comes in a query, or else between two
        duckdb.sql("SELECT count(*) FROM sky AS a JOIN sky AS b ON a.field = b.field AND random() < 2").fetchall()

pipeline.verbs.plan = query
sys.exit(main(["plan"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "nothing is lost" in done.stderr) == (128 + number, True), done.stderr
