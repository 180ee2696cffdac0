"""What an executor promises: every row once, byte for byte the serial run's, whatever happens.

`ExecutorSuite` runs a study of stochastic simulations of mixed cost, some of which raise, hang,
return NaN or kill their process.  `disturb` may be overridden to break things meanwhile; the chaos
test (marked slow) also kills workers at random and the client twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inferkit
from inferkit import seeds, simulate
from inferkit.errors import StoreError
from inferkit.plugins import Component, schema
from inferkit.store import STATUS, Simulations, Store


def mixed(theta: dict, rng: Any) -> dict:
    """Mixed cost; what goes wrong is a function of `a`, and `expected` knows it."""
    a = theta["a"]
    if 0.50 < a < 0.51:
        raise ValueError("a is in the gap")
    if 0.60 < a < 0.61:
        return {"x": np.array([np.nan, 1.0])}
    if 0.700 < a < 0.703:
        os._exit(9)
    if 0.800 < a < 0.802:
        while True:
            pass
    time.sleep(0.01 * a**4)
    return {"x": np.array([a, rng.standard_normal()])}


def expected(a: np.ndarray) -> np.ndarray:
    """The statuses that `mixed` must end in."""
    out = np.full(len(a), "ok", object)
    out[(a > 0.50) & (a < 0.51)] = "exception"
    out[(a > 0.60) & (a < 0.61)] = "nonfinite"
    out[(a > 0.700) & (a < 0.703)] = "crash"
    out[(a > 0.800) & (a < 0.802)] = "timeout"
    return out


def troubled(theta: dict, rng: Any) -> dict:
    """`mixed`, slow enough to be disturbed."""
    time.sleep(0.02 * rng.random() ** 2)
    return mixed(theta, rng)


class ExecutorSuite:
    """Give a fixture `component` (`inferkit.executor(...)`).

    chaos_rows: the size of the chaos study.  deaths: what share of it is stored when the client is
    killed.  killing: seconds between two kills of a worker.  chaos_seconds: when it must be done.
    """

    rows = 600
    timeout = 0.5
    chaos_rows = 2000
    deaths = (0.2, 0.55)
    killing = (0.7, 1.5)
    chaos_seconds = 240.0

    @pytest.fixture
    def component(self) -> Component:
        raise NotImplementedError("give a fixture `component`: inferkit.executor(...)")

    def study(self, component: Any, path: Any, simulate: Any = mixed, **options: Any):
        return inferkit.Study(inferkit.simulator(simulate),
                              inferkit.Prior({"a": inferkit.Uniform(0.0, 1.0)}),
                              executor=component, path=path, seed=3, quiet=True, **options)

    @contextmanager
    def disturb(self) -> Iterator[None]:
        """Break things while the study runs (kill workers, restart servers)."""
        yield

    def victims(self, client: int) -> list[int]:
        """Processes that the chaos test may kill: by default all that the client started."""
        return descendants(client)

    def test_quiet_rows_equal_the_serial_run(self, component, tmp_path):
        serial = self.study(inferkit.executor("local", workers=0), tmp_path / "serial", _calm)
        serial.simulate(200)
        mine = self.study(component, tmp_path / "mine", _calm)
        mine.simulate(80)
        mine.simulate(200)
        assert len(mine.simulations) == 200
        assert mine.simulations.digest() == serial.simulations.digest(), (
            "rows differ from the serial run: seeds must come from the chunk's indices alone")

    def test_failures_are_named_and_spare_their_neighbours(self, component, tmp_path):
        mine = self.study(component, tmp_path / "mine", timeout=self.timeout)
        with self.disturb():
            mine.simulate(self.rows)
        table = mine.simulations
        assert np.array_equal(table.index, np.arange(self.rows)), "rows are missing or twice there"
        got = np.array(STATUS, object)[table.status]
        due = expected(table.theta["a"])
        wrong = np.flatnonzero(got != due)
        assert not len(wrong), [(int(i), due[i], got[i], table.messages[i]) for i in wrong[:5]]
        reference = self.study(inferkit.executor("local", workers=2), tmp_path / "reference",
                               timeout=self.timeout)
        reference.simulate(self.rows)
        assert table.digest() == reference.simulations.digest()

    def test_stored_rows_are_not_run_again(self, component, tmp_path):
        mine = self.study(component, tmp_path / "mine", _calm)
        assert mine.simulate(60).done == 60
        assert self.study(component, tmp_path / "mine", _calm).simulate(60).done == 0

    def test_cancel_keeps_what_finished(self, component, tmp_path):
        mine = self.study(component, tmp_path / "mine", _slow)
        shown = []

        def stop(progress):
            shown.append(progress.done)
            if progress.done >= 3:
                raise KeyboardInterrupt

        mine.reporter = stop
        mine.reporter.say = lambda text: None
        with pytest.raises(KeyboardInterrupt):
            mine.simulate(100_000)
        assert len(mine.simulations) >= 3

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds its victims in /proc")
    def test_chaos_loses_nothing(self, component, tmp_path):
        """Workers are killed at random, the client twice; then every row is there, as it must be."""
        path, killed = tmp_path / "run", 0
        with self.disturb():
            for share in (*self.deaths, 2.0):
                client = self._client(component, path)
                try:
                    killed += self._torment(client, path, share * self.chaos_rows)
                finally:
                    client.kill()
                    _, told = client.communicate()
        assert client.returncode == 0, told[-3000:]
        assert killed, "no worker was killed: give `victims`"
        table = Simulations(Store.existing(path), 0)
        index = np.arange(self.chaos_rows)
        assert np.array_equal(table.index, index), "rows are missing or twice there"
        draw = simulate.PriorDraws(inferkit.Prior({"a": inferkit.Uniform(0.0, 1.0)}), 3)
        theta = draw(index)["a"]
        assert table.theta["a"].tobytes() == theta.tobytes()
        got, due = np.array(STATUS, object)[table.status], expected(theta)
        wrong = np.flatnonzero(got != due)
        assert not len(wrong), [(int(i), due[i], got[i], table.messages[i]) for i in wrong[:5]]
        assert all(m for m, g in zip(table.messages, got) if g != "ok"), "a failure has no message"
        row_seeds = seeds.row_seeds(3, 0, index)
        serial = [_undelayed(theta[i], row_seeds[i]) for i in index if due[i] == "ok"]
        assert table.ok.x()["x"].tobytes() == np.stack(serial).tobytes(), (
            "rows differ from the serial run's")

    def _client(self, component: Component, path: Path) -> subprocess.Popen:
        told = {"name": component.name, "settings": schema.plain(component.config) or {},
                "path": str(path), "timeout": self.timeout, "rows": self.chaos_rows}
        return subprocess.Popen([sys.executable, "-c", CLIENT, json.dumps(told)], text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def _torment(self, client: subprocess.Popen, path: Path, until: float) -> int:
        """Kill the client's workers now and then until it ends, or has stored `until` rows."""
        rng = np.random.default_rng()
        end, killed = time.monotonic() + self.chaos_seconds, 0
        due = time.monotonic() + rng.uniform(*self.killing)
        while client.poll() is None:
            time.sleep(0.1)
            assert time.monotonic() < end, f"not done after {self.chaos_seconds:g} s"
            with suppress(StoreError):
                if len(Store.existing(path).present(0)) >= until:
                    break
            victims = self.victims(client.pid) if time.monotonic() > due else []
            if victims:
                with suppress(ProcessLookupError):
                    os.kill(int(rng.choice(victims)), signal.SIGKILL)
                    killed += 1
                due = time.monotonic() + rng.uniform(*self.killing)
        return killed


CLIENT = """
import json, sys
import inferkit
from inferkit.testing.executor import troubled

told = json.loads(sys.argv[1])
study = inferkit.Study(inferkit.simulator(troubled),
                       inferkit.Prior({"a": inferkit.Uniform(0.0, 1.0)}),
                       executor=inferkit.executor(told["name"], **told["settings"]),
                       path=told["path"], seed=3, timeout=told["timeout"], quiet=True)
study.simulate(told["rows"])
"""


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


def _undelayed(a: float, seed: Any) -> np.ndarray:
    """The row that `troubled` gives, by hand and at once."""
    rng = seeds.rng(seed)
    rng.random()
    return np.array([a, rng.standard_normal()])


def _calm(theta: dict, rng: Any) -> dict:
    return {"x": np.array([theta["a"], rng.standard_normal()])}


def _slow(theta: dict, rng: Any) -> dict:
    time.sleep(0.02)
    return {"x": np.array([theta["a"], rng.standard_normal()])}
