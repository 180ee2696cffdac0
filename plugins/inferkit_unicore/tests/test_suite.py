"""The conformance suite that inferkit has for executors."""

import os
import signal
import threading
from contextlib import contextmanager, suppress

import pytest
from unicore_helpers import settings

import inferkit as ik
from inferkit.testing.executor import ExecutorSuite, descendants


class TestUnicore(ExecutorSuite):
    rows = 200
    chaos_seconds = 280.0

    @pytest.fixture
    def component(self, site):
        self.server = site
        return ik.executor("unicore", **settings(site, workers=1, rows_per_job=100, max_jobs=2,
                                                 retries=20))

    def victims(self, client):
        """The site's jobs: bash, inferkit's node process and its workers."""
        return [p for j in list(self.server.jobs.values()) if j.status == "RUNNING"
                for p in descendants(j.told["pid"])]

    @contextmanager
    def disturb(self):
        self.server.faults.add("expire_sessions", skip=6)
        self.server.faults.add("status", "GET", "manifest", code=503)
        self.server.faults.add("status", "POST", "/jobs$", code=503, after=True)
        killer = threading.Timer(1.5, self.kill_one)
        killer.start()
        yield
        killer.cancel()

    def kill_one(self):
        with suppress(OSError, IndexError):
            os.kill(self.victims(0)[-1], signal.SIGKILL)
