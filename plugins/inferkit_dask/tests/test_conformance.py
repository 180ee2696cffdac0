"""The promises of an executor, kept on a local Dask cluster, and on one that breaks down."""

import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import inferkit
from inferkit.testing import ExecutorSuite, PluginSuite
from inferkit.testing.executor import descendants

sys.path.insert(0, str(Path(__file__).parent))
from cluster import Outside  # noqa: E402


class TestDask(ExecutorSuite):
    killing = (1.5, 3.0)  # a Dask worker takes two seconds to start

    @pytest.fixture
    def component(self):
        return inferkit.executor("dask", workers=2)


@pytest.mark.slow
class TestOutside(ExecutorSuite):
    """An existing cluster whose workers are killed, and whose scheduler is too, every 15 s."""

    killing = (1.5, 3.0)

    @pytest.fixture
    def component(self, tmp_path):
        with Outside(tmp_path, workers=2) as self.cluster:
            yield inferkit.executor("dask", address=self.cluster.address)

    def victims(self, client):
        started = {p.pid for n, p in self.cluster.processes.items() if n != "scheduler"}
        return sorted(started.union(*map(descendants, started)))

    @contextmanager
    def disturb(self):
        over = threading.Event()

        def kill():
            while not over.wait(15):
                os.kill(self.cluster.processes["scheduler"].pid, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        yield
        over.set()
        thread.join()


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_dask.plugin"

    @pytest.fixture
    def backends(self):
        return "dask", "distributed"
