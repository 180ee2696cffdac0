"""What an executor promises: every row once, byte for byte the serial run's, whatever happens.

`ExecutorSuite` runs a study of stochastic simulations of mixed cost, some of which raise, hang,
return NaN or kill their process.  `disturb` may be overridden to break things meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import inferkit
from inferkit.component import Component
from inferkit.shard import STATUS


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


class ExecutorSuite:
    """Give a fixture `component` (`inferkit.executor(...)`)."""

    rows = 600
    timeout = 0.5

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


def _calm(theta: dict, rng: Any) -> dict:
    return {"x": np.array([theta["a"], rng.standard_normal()])}


def _slow(theta: dict, rng: Any) -> dict:
    time.sleep(0.02)
    return {"x": np.array([theta["a"], rng.standard_normal()])}
