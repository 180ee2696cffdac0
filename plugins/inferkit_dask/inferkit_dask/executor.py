"""Chunks on a Dask cluster.

Each chunk is one Dask task that returns a receipt of some hundred bytes (or the shards themselves,
where the workers do not see the run's folder).  A coroutine follows each task and puts its receipt
in a queue; the future is released at once, so neither client nor scheduler grows with the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import secrets
import time
from pathlib import Path
from typing import Any

from distributed import Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from inferkit.data import Chunk, Job, Receipt
from inferkit.errors import ExecutorError, InferkitError
from inferkit.plugins import component
from inferkit_dask import clusters, host, loopback, parcel, versions
from inferkit_dask.config import DaskConfig

PATIENCE = 60.0
CHUNKS_A_SECOND = 100
"""Half of what one scheduler and client were measured to carry (docs/scaling.md)."""
RESERVE = 1000
"""Chunks in flight at most beyond those that run."""
LOOK_SECONDS = 1.0
BROKEN = "the connection to the scheduler broke"
BREAKS = 100
"""Breaks of the connection, with nothing finished between them, that are blamed on no chunk."""


class DaskExecutor:
    """Places chunks on Dask workers.  `note` says something worth telling the user, if anything."""

    def __init__(self, config: DaskConfig | None = None):
        self.config = config or DaskConfig()
        self.retries, self.grace = self.config.retries, self.config.grace
        self.note = ""
        self._threads = self._breaks = 0
        self._done: queue.Queue[Receipt] = queue.Queue()
        self._flying: set[str] = set()
        self._cancelled = False
        self._seen = False  # a worker has been there

    # -- what the driver reads -------------------------------------------------------------------

    @property
    def workers(self) -> int:
        """Chunks that run at once, now."""
        return max(1, self._threads)

    @property
    def slots(self) -> int:
        # Beyond some thousand threads chunks are long, and a few in reserve are enough.
        return self.workers + min((self.config.window - 1) * self.workers, RESERVE)

    @property
    def target_seconds(self) -> float:
        """A chunk's simulations in seconds: on many threads more, for the scheduler's sake."""
        return self.config.team * max(self.config.target_seconds, self._threads / CHUNKS_A_SECOND)

    @property
    def shortest_seconds(self) -> float:
        """How short chunks may become towards the end."""
        return self.config.team * max(0.05, self._threads / (2 * CHUNKS_A_SECOND))

    # -- the protocol ----------------------------------------------------------------------------

    def open(self, job: Job) -> None:
        self.job = job
        self.name = f"inferkit-{secrets.token_hex(6)}"
        spec = component.from_reference(job.simulator).spec
        self._packages = versions.packages_of(spec)
        c = self.config
        self._run = host.Run(
            self.name, job.to_json(), {"workers": 1, "threads": c.cores, "memory": c.memory,
                                       "recycle_growth": c.recycle_growth},
            self._packages, versions.told(self._packages), c.shards,
            secrets.token_hex(16), parcel.pack(c.send), c.team)
        self._site = clusters.connect(c)
        try:
            if job.store is not None:
                self._token_file.write_text(self._run.token)
            self._introduce()
        except BaseException:
            self.close()
            raise
        if link := self._site.dashboard:
            self.note = f"dashboard: {link}"

    def submit(self, chunk: Chunk) -> str:
        if self._site.client.status in ("closed", "closing"):
            self._restore()
        client: Any = self._site.client
        future = client.submit(host.run_chunk, self.name, chunk, key=f"inferkit-{chunk.id}",
                               pure=False, retries=0, resources=self.config.resources or None)
        self._flying.add(chunk.id)
        client.loop.add_callback(self._follow, client, future, chunk.id)
        return chunk.id

    def wait(self, timeout: float) -> list[Receipt]:
        receipts: list[Receipt] = []
        with contextlib.suppress(queue.Empty):
            receipts.append(self._done.get(timeout=timeout))
            while True:
                receipts.append(self._done.get_nowait())
        if not self._cancelled:
            if any(r.rows for r in receipts):
                self._breaks = 0
            if broken := [r for r in receipts if r.lost == BROKEN]:
                self._restore()
                self._breaks += 1
                for r in broken if self._breaks < BREAKS else ():
                    r.lost, r.stopped = "", True  # to be run again, and no fault of the chunk
            self._check_alive()
        self._flying -= {r.chunk for r in receipts}
        return receipts

    def cancel(self) -> None:
        self._cancelled = True
        client = self._site.client
        try:
            reached = client.run(host.stop_run, self.name, on_error="ignore") if (
                client.status == "running") else {}
        except (OSError, TimeoutError, InferkitError):
            reached = {}
        if not reached:  # nobody is left to send receipts
            for ticket in list(self._flying):
                self._done.put(Receipt(ticket, stopped=True))

    def close(self) -> None:
        site = self._site
        self._cancelled = True
        with contextlib.suppress(OSError):
            if self.job.store is not None:
                self._token_file.unlink(missing_ok=True)
        if site.client.status == "running":
            with contextlib.suppress(Exception):  # the cluster may be going down already
                site.client.sync(self._dismiss, site.client, callback_timeout=10)
        site.close()

    # -- following tasks -------------------------------------------------------------------------

    async def _follow(self, client: Any, future: Future, ticket: str) -> None:
        """Put the task's receipt in the queue, whatever becomes of the task."""
        try:
            receipt = await client.gather(future, asynchronous=True)
        except KilledWorker as cause:
            receipt = Receipt(ticket, lost=f"its Dask worker died ({cause.last_worker.address})")
        except (FutureCancelledError, asyncio.CancelledError):
            receipt = Receipt(ticket, lost=BROKEN)
        except (ModuleNotFoundError, AttributeError) as cause:
            receipt = Receipt(ticket, error=ExecutorError(
                f"a Dask worker cannot load inferkit: {cause}",
                fix="on the workers: pip install inferkit inferkit-dask"))
        except OSError as cause:
            receipt = Receipt(ticket, lost=f"{type(cause).__name__}: {cause}")
        except Exception as cause:
            receipt = Receipt(ticket, error=ExecutorError(
                f"a Dask task failed: {type(cause).__name__}: {cause}"))
        self._done.put(receipt)

    async def _dismiss(self, client: Any) -> None:
        await client.scheduler.unregister_worker_plugin(name=self.name)

    # -- the cluster -----------------------------------------------------------------------------

    @property
    def _token_file(self) -> Path:
        assert self.job.store is not None
        return Path(self.job.store) / f".{self.name}"

    def _introduce(self) -> None:
        """Check the workers that are there, and tell the scheduler of the run."""
        client: Any = self._site.client
        mine = {k: v.split(" ")[0] for k, v in self._run.versions.items()
                if k in ("python", "inferkit", "inferkit_dask")}
        for address, theirs in client.run(versions.probe(), on_error="ignore").items():
            wrong = versions.difference(mine, theirs, f"worker {address}", self._packages)
            if wrong is not None:
                raise wrong
        client.register_plugin(host.Host(self._run))
        self._since = time.monotonic()
        client.loop.add_callback(self._look, client)

    async def _look(self, client: Any) -> None:
        """Keep count of the threads, as long as this client serves."""
        while client is self._site.client and client.status in ("running", "connecting"):
            with contextlib.suppress(OSError, AttributeError):
                threads = await client.scheduler.ncores()  # type: ignore[union-attr]
                self._threads = sum(threads.values())
                if self._threads:
                    self._seen, self._since = True, time.monotonic()
            self._site.mend()
            pause = LOOK_SECONDS * (1 + self._threads / 1000)
            await asyncio.sleep(pause if self._threads else 0.05)

    def _check_alive(self) -> None:
        """An error once there has been no worker for too long."""
        lonely = time.monotonic() - self._since
        patience = self.config.patience
        if patience is None:
            waits = self._site.cluster is not None and self.config.cluster != "local"
            patience = float("inf") if waits and not self._seen else PATIENCE
        if self._threads or lonely < patience:
            return
        told = loopback.tail(self._site.cluster)
        raise ExecutorError(
            f"no Dask worker for {lonely:.0f} s" + (f":\n    {told}" if told else ""),
            fix=f"dask worker {self._address}" if not self.config.own else
            "look at the workers' logs; what finished is stored: inferkit resume")

    @property
    def _address(self) -> str:
        scheduler: Any = self._site.client.scheduler
        return getattr(scheduler, "address", None) or self.config.address

    def _restore(self) -> None:
        """Find the scheduler again after it went away; what was in flight counts as lost."""
        patience = self.config.patience or PATIENCE
        end = time.monotonic() + patience
        self._threads = 0
        while time.monotonic() < end:
            left = max(1.0, end - time.monotonic())
            try:
                if self.config.client is None and not self._site.cluster:
                    old, self._site = self._site, clusters.connect(self.config, min(5.0, left))
                    with contextlib.suppress(Exception):
                        old.client.close(timeout=1)
                elif self._site.client.status != "running":
                    time.sleep(0.2)
                    continue
                self._introduce()
                return
            except (ExecutorError, OSError, TimeoutError):
                time.sleep(0.5)
        raise ExecutorError(
            f"the Dask scheduler at {self._address} went away and did not come back in "
            f"{patience:.0f} s",
            fix=f"what finished is stored; start the cluster again, then: inferkit resume "
                f"{self.job.store or ''}".rstrip())
