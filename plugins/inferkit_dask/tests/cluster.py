"""Clusters for the tests: real schedulers and workers, on loopback, as processes of their own."""

import os
import socket
import subprocess
import sys
import threading
import time


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Outside:
    """A scheduler and workers that somebody else started; each is started again when it dies."""

    def __init__(self, folder, workers=1, threads=1, tls=(), env=None):
        self.folder, self.threads = folder, threads
        self.port = free_port()
        self.protocol = "tls" if tls else "tcp"
        self.address = f"{self.protocol}://127.0.0.1:{self.port}"
        self.tls, self.env = list(tls), {**os.environ, **(env or {})}
        self.stopped = threading.Event()
        self.processes = {}
        self.names = ["scheduler", *(f"worker{k}" for k in range(workers))]
        self.keeper = threading.Thread(target=self._keep, daemon=True)

    def _command(self, name):
        module = "dask_scheduler" if name == "scheduler" else "dask_worker"
        command = [sys.executable, "-m", f"distributed.cli.{module}", *self.tls]
        if name == "scheduler":
            return [*command, "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard",
                    "--protocol", self.protocol]
        return [*command, self.address, "--nthreads", str(self.threads), "--no-nanny", "--name", name,
                "--no-dashboard", "--host", "127.0.0.1", "--memory-limit", "0",
                "--local-directory", str(self.folder)]

    def _keep(self):
        while not self.stopped.wait(0.1):
            for name in self.names:
                if name not in self.processes or self.processes[name].poll() is not None:
                    with (self.folder / f"{name}.log").open("ab") as log:
                        self.processes[name] = subprocess.Popen(
                            self._command(name), stdout=log, stderr=log, env=self.env,
                            cwd=self.folder)

    def __enter__(self):
        self.keeper.start()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        raise TimeoutError((self.folder / "scheduler.log").read_text())

    def __exit__(self, *_):
        self.stopped.set()
        self.keeper.join()
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
