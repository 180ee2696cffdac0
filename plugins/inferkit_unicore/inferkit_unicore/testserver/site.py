"""A UNICORE site on loopback: HTTP and TLS ports, jobs, storages, users, faults.

    with Site(folder) as site:
        client = pyunicore.client.Client(credential, site.https)

`restart()` is what a restarted server looks like to its clients: sessions gone, jobs kept.
`requests` logs what was asked, as (method, path, status); `count()` looks into it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from inferkit_unicore.testserver import jobs, tls
from inferkit_unicore.testserver.auth import Users
from inferkit_unicore.testserver.faults import Faults

NAME = "DEMO-SITE"
QUEUES = ("batch", "devel")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up (or distrusts our certificate) is no news."""


class Site:
    """The test server.  `root` holds all that outlives a restart."""

    def __init__(self, root: Path, name: str = NAME, slots: int = 2, secure: bool = True):
        self.root, self.name, self.secure = Path(root), name, secure
        for folder in ("jobs", "uspaces", "storages/HOME", "storages/SCRATCH"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self.users, self.faults = Users(), Faults()
        self.queues = QUEUES
        self.slots = threading.Semaphore(slots)
        self.started = 0  # processes started
        self.connections = 0
        self.requests: list[tuple[str, str, int]] = []
        self.posted: list[dict] = []  # job descriptions, as they came
        self.jobs: dict[str, jobs.Job] = {}
        self.stopped = threading.Event()
        self._ports = [0, 0]
        self._listeners: list[_Listener] = []

    # -- running ---------------------------------------------------------------------------------

    def start(self) -> Site:
        from inferkit_unicore.testserver.handler import make_handler

        self.stopped = threading.Event()
        certificate = self.root / "cert.pem"
        if self.secure and not certificate.exists():
            tls.make_certificate(self.root)
        for file in sorted((self.root / "jobs").glob("*.json")):
            job = jobs.Job(self, json.loads(file.read_text()))
            self.jobs[job.id] = job
            job.live()
        for k, secure in enumerate((False, True)[: 1 + self.secure]):
            listener = _Listener(("127.0.0.1", self._ports[k]), make_handler(self, secure))
            if secure:
                listener.socket = tls.server_context(certificate).wrap_socket(
                    listener.socket, server_side=True, do_handshake_on_connect=False)
            self._ports[k] = listener.server_address[1]
            self._listeners.append(listener)
            threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02},
                             daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop serving; jobs run on."""
        self.stopped.set()
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()
        self._listeners.clear()

    def restart(self, down_seconds: float = 0.0) -> None:
        self.stop()
        self.users.forget_sessions()
        time.sleep(down_seconds)
        self.jobs = {}
        self.start()

    def close(self) -> None:
        """Stop serving and kill what runs."""
        for job in list(self.jobs.values()):
            job.abort()
        end = time.monotonic() + 5
        while any(j.status not in jobs.ENDED for j in self.jobs.values()):
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        self.stop()

    def __enter__(self) -> Site:
        return self.start()

    def __exit__(self, *_: Any) -> None:
        self.close()

    def reset(self) -> None:
        """As new, for the next test: no jobs, no files, no faults, no log."""
        self.faults.clear()
        for job in list(self.jobs.values()):
            job.abort()
        for job in list(self.jobs.values()):
            job.delete()
        self.jobs.clear()
        self.requests.clear()
        self.posted.clear()
        self.users.forget_sessions()
        self.users.tokens.clear()
        self.started = self.connections = 0

    # -- where it is -----------------------------------------------------------------------------

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}/{self.name}/rest/core"

    @property
    def https(self) -> str:
        return f"https://127.0.0.1:{self._ports[1]}/{self.name}/rest/core"

    @property
    def registry(self) -> str:
        return f"https://127.0.0.1:{self._ports[1]}/REGISTRY/rest/registries/default_registry"

    @property
    def ca(self) -> str:
        return str(self.root / "ca.pem")

    # -- what it holds ---------------------------------------------------------------------------

    def submit(self, description: dict, owner: str) -> jobs.Job:
        jobs.seconds(description.get("Resources", {}).get("Runtime"))
        queue = description.get("Resources", {}).get("Queue")
        if queue is not None and queue not in self.queues:
            raise ValueError(f"No such queue: {queue}")
        job = jobs.Job.new(self, description, owner)
        self.jobs[job.id] = job
        job.live()
        return job

    def storage(self, name: str) -> Path | None:
        """A storage's folder: a job's own (ID-uspace) or one of the site's."""
        if name.endswith("-uspace"):
            job = self.jobs.get(name.removesuffix("-uspace"))
            return job.folder if job else None
        folder = self.root / "storages" / name
        return folder if folder.is_dir() else None

    def expire(self, job: jobs.Job) -> None:
        """What happens to a job when its time on the server is over."""
        job.delete()
        self.jobs.pop(job.id, None)

    def count(self, method: str, path: str, status: int | None = None) -> int:
        """How many requests with such a path were answered (so)."""
        return sum(m == method and bool(re.search(path, p)) and status in (None, s)
                   for m, p, s in list(self.requests))
