"""What a study runs: simulations on its executor, which is open for the length of one call.

Nested uses share the executor, so that a fit of several rounds, or a check that simulates, starts its
workers once.  How many new simulations may run can be limited for a while (`limit`), for those who
only want to compare what is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from inferkit import simulate
from inferkit.data import Job
from inferkit.errors import ConfigError, EstimatorError
from inferkit.progress import Progress


class Running:
    """A study's executor and its rounds."""

    def __init__(self, study: Any):
        self.study = study
        self.runner: Any = None
        self.limit: int | None = None  # so many new simulations; None: as many as it takes

    def job(self) -> Job:
        """What workers need to know of the study."""
        study = self.study
        reference, spec = study.simulator.reference(), study.executor.spec
        if "here" in reference and spec.detached:  # type: ignore[attr-defined]
            raise ConfigError(f"{study.simulator!r} cannot leave this process: {reference['why']}",
                              fix='executor=ik.executor("local", workers=0)')
        return Job(reference, study.seed, study.store.key, study.timeout, str(study.path.resolve()))

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """The executor, ready for work."""
        if self.runner is not None or "simulator" not in self.study.has:
            yield
            return
        self.runner = self.study.executor.build()
        self.runner.open(self.job())
        if note := getattr(self.runner, "note", ""):  # a dashboard's address, say
            self.study.reporter.say(note)
        try:
            yield
        finally:
            runner, self.runner = self.runner, None
            runner.close()

    def run(self, draw: Callable, round: int, n: int, retry_failed: bool = False,
            first: Callable[[Progress], None] | None = None) -> Progress:
        """See to it that rows 0 to n of a round are stored."""
        study = self.study
        spec: Any = study.simulator.spec
        if self.limit is not None:
            self.spend(n - int((study.store.present(round) < n).sum()))
        return simulate.run(study.store, spec, self.runner, draw, round, n, study.reporter,
                            retry_failed, first)

    def spend(self, n: int) -> None:
        """Take n from the new simulations that may run, where that is limited."""
        if self.limit is None or n == 0:
            return
        if n > self.limit:
            raise EstimatorError(f"this takes {n:,} new simulations, and {self.limit:,} may run",
                                 fix="inferkit compare RUN … --simulate 50000")
        self.limit -= n
