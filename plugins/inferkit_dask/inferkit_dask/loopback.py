"""The own local cluster: a scheduler in this process, worker processes that only loopback reaches.

dask's `LocalCluster` spawns its workers through multiprocessing, which runs the user's script again
in each of them; these are started afresh, so a script needs no `if __name__ == "__main__"`.  A
worker that dies is started again; all end by themselves when this process does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import dask
from distributed import Scheduler, SpecCluster
from distributed.deploy.spec import ProcessInterface
from distributed.security import Security

QUICK_DEATHS = 5
"""Deaths in a row, each within seconds of the start, after which a worker is given up."""


class LoopbackWorker(ProcessInterface):
    """A `dask worker` process, kept alive until it is closed."""

    def __init__(self, scheduler: str, name: Any = None, nthreads: int = 1, folder: str = ""):
        super().__init__(scheduler=scheduler, name=name)
        self.scheduler, self.name, self.nthreads = scheduler, name, nthreads
        self.folder = Path(folder)
        self.process: subprocess.Popen | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"worker-{self.name}.log"

    async def start(self) -> None:
        self._launch()
        self._keeper = asyncio.ensure_future(self._keep())
        await super().start()

    def _launch(self) -> None:
        command = [
            sys.executable, "-m", "distributed.cli.dask_worker", self.scheduler,
            "--name", str(self.name), "--nthreads", str(self.nthreads), "--no-nanny",
            "--no-dashboard", "--memory-limit", "0", "--host", "127.0.0.1",
            "--dashboard-address", "127.0.0.1:0",  # its HTTP server, which runs without one too
            "--local-directory", str(self.folder), "--death-timeout", "30",
        ]
        config = {"distributed": {
            # It only waits for its processes: no profile is worth its share of a core.
            "worker": {"profile": {"enabled": False}},
            "comm": dask.config.get("distributed.comm"),
        }}
        env = {**os.environ, "DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(config),
               "PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=env, start_new_session=os.name != "nt")

    async def _keep(self) -> None:
        loop, quick = asyncio.get_running_loop(), 0
        born = loop.time()
        while quick < QUICK_DEATHS:
            await asyncio.sleep(0.1)
            if self.process is None or self.process.poll() is None:
                continue
            quick = quick + 1 if loop.time() - born < 5 else 0
            born = loop.time()
            self._launch()

    async def close(self) -> None:
        self._keeper.cancel()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            for _ in range(50):
                if self.process.poll() is not None:
                    break
                await asyncio.sleep(0.02)
            else:
                self.process.kill()
                self.process.wait()
        await super().close()


class LoopbackCluster(SpecCluster):
    """With the folder of its workers' logs and files, which goes when the cluster does."""

    folder: tempfile.TemporaryDirectory


def start(nthreads: int, dashboard: str, secure: bool) -> LoopbackCluster:
    """The cluster, with no workers yet."""
    folder = tempfile.TemporaryDirectory(prefix="inferkit-dask-", ignore_cleanup_errors=True)
    security = Security.temporary() if secure else None
    options: dict[str, Any] = {
        "host": "127.0.0.1", "port": 0, "protocol": "tls://" if secure else "tcp://",
        "dashboard": dashboard != "off",
        "dashboard_address": dashboard if dashboard != "off" else "127.0.0.1:0",
        "security": security,
    }
    with dask.config.set(_tls(security)):
        cluster = LoopbackCluster(
            scheduler={"cls": Scheduler, "options": options}, security=security,
            worker={"cls": _with_tls(security), "options": {
                "nthreads": nthreads, "folder": folder.name}},
            silence_logs=50, name="inferkit")
    cluster.folder = folder
    return cluster


def _tls(security: Security | None) -> dict:
    if security is None:
        return {}
    held = security.get_tls_config_for_role("worker")
    return {"distributed.comm.require-encryption": True,
            "distributed.comm.tls.ca-file": held["ca_file"],
            "distributed.comm.tls.worker.cert": held["cert"],
            "distributed.comm.tls.worker.key": held["key"]}


def _with_tls(security: Security | None) -> type[LoopbackWorker]:
    """Workers are launched at any time later, so each launch sets the certificates itself."""

    class Launched(LoopbackWorker):
        def _launch(self) -> None:
            with dask.config.set(_tls(security)):
                super()._launch()

    return Launched if security is not None else LoopbackWorker


def tail(cluster: Any) -> str:
    """The last words of the workers, for an error."""
    lines: list[str] = []
    with contextlib.suppress(OSError, AttributeError):
        for file in sorted(Path(cluster.folder.name).glob("worker-*.log")):
            lines += file.read_text(errors="replace").strip().splitlines()[-4:]
    return "\n    ".join(lines[-8:])


