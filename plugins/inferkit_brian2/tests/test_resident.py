"""Programs that stay: fresh for each call, gone with the process that started them."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from inferkit_brian2 import resident
from neurons import lif, membrane

from inferkit import seeds
from inferkit.errors import SimulatorError

TAU = {"tau": np.linspace(8, 20, 5)}
MEAN = [{"of": "v", "kind": "mean"}]


def rows(n):
    return seeds.row_seeds(1, 0, np.arange(n))


def process_of(simulator):
    return simulator.engine.program._resident.process


def wait_for(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_one_process_answers_call_after_call_and_remembers_none():
    simulator = membrane().build()
    first = simulator.simulate(TAU, rows(5))["v"]
    process = process_of(simulator)
    other = simulator.simulate({"tau": np.full(70, 3.0)}, rows(70))["v"]
    again = simulator.simulate(TAU, rows(5))["v"]
    assert process_of(simulator) is process and process.poll() is None
    assert again.tobytes() == first.tobytes() and not np.array_equal(other[:5], first)
    wait_for(lambda: not children(process.pid))


def slow():
    """So long that it is still running when something happens to it."""
    return membrane(duration="200000 ms", record=(), spikes=False, summaries=MEAN).build()


def test_a_call_that_is_interrupted_kills_the_program_and_the_next_starts_another():
    simulator = slow()
    simulator.prepare()

    def interrupt(signum, frame):
        raise TimeoutError("the row's time is up")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(TimeoutError):
            simulator.simulate({}, rows(600))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert process_of(simulator).returncode == -signal.SIGKILL
    quick = membrane().build()
    assert np.isfinite(quick.simulate({}, rows(2))["v"]).all()


def test_ctrl_c_is_not_for_the_program():
    simulator = membrane().build()
    first = simulator.simulate({}, rows(3))["v"]
    os.kill(process_of(simulator).pid, signal.SIGINT)
    assert simulator.simulate({}, rows(3))["v"].tobytes() == first.tobytes()
    assert process_of(simulator).poll() is None


def test_a_program_that_was_killed_is_started_again():
    simulator = membrane().build()
    first = simulator.simulate({}, rows(3))["v"]
    process = process_of(simulator)
    process.kill()
    wait_for(lambda: not alive(process.pid))
    with pytest.raises(SimulatorError, match="ended with -9"):
        simulator.simulate({}, rows(3))
    assert simulator.simulate({}, rows(3))["v"].tobytes() == first.tobytes()


def test_a_call_that_crashes_says_so_and_the_program_lives_on():
    simulator = slow()
    simulator.prepare()
    simulator.engine.program._resident = held = resident.Resident(simulator.engine.program.folder)

    def kill():
        wait_for(lambda: children(held.process.pid))
        os.kill(children(held.process.pid)[0], signal.SIGSEGV)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SimulatorError, match="ended with 11"):
        simulator.simulate({}, rows(600))
    thread.join()
    assert held.process.poll() is None


ALONE = """
import os, sys, threading, time
sys.path.insert(0, {tests!r})
import test_resident as t
from inferkit_brian2 import resident
simulator = t.slow()
held = simulator.engine.program._resident = resident.Resident(simulator.engine.program.folder)
def tell():
    t.wait_for(lambda: t.children(held.process.pid))
    print(held.process.pid, t.children(held.process.pid)[0], flush=True)
threading.Thread(target=tell).start()
simulator.simulate({{}}, t.rows(600))
"""


def test_it_dies_with_the_process_that_started_it_even_amid_a_call():
    slow().prepare()
    python = subprocess.Popen(
        [sys.executable, "-c", ALONE.format(tests=str(Path(__file__).parent))],
        stdout=subprocess.PIPE,
        text=True,
    )
    program, child = map(int, python.stdout.readline().split())
    assert alive(program) and alive(child)
    python.kill()
    python.wait()
    wait_for(lambda: not alive(program) and not alive(child))
    python.stdout.close()


FORKED = """
import os, sys
sys.path.insert(0, {tests!r})
import test_resident as t
simulator = t.membrane().build()
first = simulator.simulate({{}}, t.rows(3))["v"].tobytes()
process = t.process_of(simulator)
pid = os.fork()
if pid == 0:
    same = simulator.simulate({{}}, t.rows(3))["v"].tobytes() == first
    own = t.process_of(simulator)
    own.kill()
    os._exit(0 if same and own.pid != process.pid else 1)
assert os.waitpid(pid, 0)[1] == 0
assert simulator.simulate({{}}, t.rows(3))["v"].tobytes() == first
assert t.process_of(simulator) is process
"""


def test_a_fork_starts_its_own():
    """In a process without other threads: a fork beside those of JAX might never come back."""
    code = FORKED.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_simulator_that_has_run_can_be_pickled():
    simulator = membrane().build()
    first = simulator.simulate({}, rows(3))["v"]
    again = pickle.loads(pickle.dumps(simulator))
    assert again.simulate({}, rows(3))["v"].tobytes() == first.tobytes()
    assert process_of(again).pid != process_of(simulator).pid


def test_threads_wait_for_one_another():
    simulator = membrane().build()
    expected = [simulator.simulate({"tau": np.array([float(k)])}, rows(1))["v"] for k in range(5, 13)]
    found = {}

    def call(k):
        found[k] = simulator.simulate({"tau": np.array([float(k)])}, rows(1))["v"]

    threads = [threading.Thread(target=call, args=(k,)) for k in range(5, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, value in zip(range(5, 13), expected):
        assert found[k].tobytes() == value.tobytes()


def test_a_few_stay_and_one_that_ended_starts_again(monkeypatch):
    monkeypatch.setattr(resident, "KEPT", 1)
    one, two = membrane().build(), lif().build()
    first = one.simulate({}, rows(2))["v"]
    two.simulate({}, rows(2))
    assert process_of(one).returncode is not None and process_of(two).poll() is None
    assert one.simulate({}, rows(2))["v"].tobytes() == first.tobytes()
    resident.stop_all()
    assert process_of(one).returncode is not None


def test_results_larger_than_any_pipe():
    x = membrane(record_dt="0.1 ms", duration="100 ms").build().simulate({}, rows(1000))["v"]
    assert x.shape == (1000, 1000) and np.isfinite(x).all()
