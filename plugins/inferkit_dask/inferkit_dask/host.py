"""What runs inside a Dask worker: a host that feeds chunks to worker processes of its own.

The run is registered once as a worker plugin, so Dask sends the job (with the user's function) once
to each worker, those that join later included.  A task is a chunk alone.  The Dask worker's thread
only waits: the simulations run in `inferkit.simulate.worker` processes, one a thread, so one that
hangs, crashes or eats the memory costs its row and never the Dask worker.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import shutil
import socket
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin, get_worker

from inferkit.data import Chunk, Job, Receipt
from inferkit.errors import ExecutorError, InferkitError
from inferkit.simulate.local import LocalConfig, WorkerProcess
from inferkit.store import Shard, Simulations, Store, encode
from inferkit_dask import parcel, versions

PARTS = 4
"""Parts of a chunk a process, where several share it: what one waits for the others is less."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What every worker must know of a run; plain data."""

    name: str
    job: str
    process: dict  # LocalConfig's fields for the simulations' processes
    packages: dict[str, str]
    versions: dict[str, str]
    shards: str = "auto"
    token: str = ""  # in a file of the run's folder: who reads it there sees that folder
    parcel: bytes = b""
    team: int = 1  # processes that share a chunk


class Host(WorkerPlugin):
    """One run's processes on one Dask worker."""

    def __init__(self, run: Run):
        self.run, self.name = run, run.name

    def setup(self, worker: Any) -> None:
        self.where = f"worker {worker.name} on {socket.gethostname()}"
        self.folder = Path(tempfile.mkdtemp(prefix="inferkit-dask-"))
        self.lock = threading.Lock()
        self.idle: list[WorkerProcess] = []
        self.all: list[WorkerProcess] = []
        self.job: Job | None = None
        self.problem: InferkitError | None = None
        self.stopping = False

    def teardown(self, worker: Any) -> None:
        self.stopping = True
        for process in self.all:
            process.stopping = True
            process.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(ValueError):
            sys.path.remove(str(self.folder / "sent"))

    def __reduce__(self):  # it travels as the run alone
        return Host, (self.run,)

    # -- a chunk ---------------------------------------------------------------------------------

    def run_chunk(self, chunk: Chunk) -> Receipt:
        """The chunk's receipt; called in a thread of the Dask worker."""
        receipt = self._run(chunk) if self.run.team == 1 else self._share_out(chunk)
        if receipt.shards and self.run.team > 1:
            self._merge(receipt, chunk.round)
        elif receipt.shards and self.returns:
            self._fetch(receipt)
        return receipt

    def _run(self, chunk: Chunk) -> Receipt:
        process = self._take()
        if process is None:
            return Receipt(chunk.id, error=self.problem, stopped=self.problem is None)
        try:
            return process.run(chunk)
        finally:
            with self.lock:
                self.idle.append(process)

    def _share_out(self, chunk: Chunk) -> Receipt:
        """Several processes work on the chunk, in more parts than they are, each of mixed rows."""
        n = max(1, min(PARTS * self.run.team, len(chunk)))
        parts = [Chunk(f"{chunk.id}-{k}", chunk.round, chunk.index[k::n],
                       {name: v[k::n] for name, v in chunk.theta.items()}, chunk.attempt)
                 for k in range(n)]
        whole = Receipt(chunk.id)
        with ThreadPoolExecutor(self.run.team) as team:
            for part in team.map(self._run, parts):
                whole.rows += part.rows
                whole.seconds += part.seconds
                whole.nbytes += part.nbytes
                whole.shards += part.shards
                whole.messages = (whole.messages + part.messages)[:20]
                whole.rss = max(whole.rss, part.rss)
                whole.note = whole.note or part.note
                whole.stopped |= part.stopped
                whole.error = whole.error or part.error
                for status, count in part.counts.items():
                    whole.counts[status] = whole.counts.get(status, 0) + count
        return whole

    def stop(self) -> None:
        """Ask all processes to stop after the simulation they are in."""
        self.stopping = True
        for process in self.all:
            process.interrupt()

    def _take(self) -> WorkerProcess | None:
        with self.lock:
            if self.job is None and self.problem is None:
                try:
                    self._prepare()
                except InferkitError as cause:
                    self.problem = cause
            if self.problem is not None or self.stopping:
                return None
            if self.idle:
                return self.idle.pop()
            assert self.job is not None
            process = WorkerProcess(self.job, self.folder, LocalConfig(**self.run.process))
            self.all.append(process)
            return process

    def _prepare(self) -> None:
        if self.run.parcel:
            parcel.unpack(self.run.parcel, self.folder / "sent")
            sys.path.insert(0, str(self.folder / "sent"))  # handed on to the processes
            importlib.invalidate_caches()
        found = versions.difference(self.run.versions, versions.told(self.run.packages),
                                    self.where, self.run.packages)
        if found is not None:
            raise found
        job = Job.from_json(self.run.job)
        self.returns = not self._sees(job)
        self.target = job.store
        if self.returns or self.run.team > 1:
            # Written here first, so that a process that dies loses nothing it had finished.
            (self.folder / "shards").mkdir(exist_ok=True)
            job = dataclasses.replace(job, store=str(self.folder))
        self.job = job

    def _sees(self, job: Job) -> bool:
        """Whether this worker writes into the run's own folder."""
        if self.run.shards == "client" or job.store is None:
            return False
        folder = Path(job.store)
        try:
            seen = (folder / f".{self.name}").read_text() == self.run.token
            if seen:
                (folder / "shards" / f".tmp-{self.name}-{id(self)}").touch()
                (folder / "shards" / f".tmp-{self.name}-{id(self)}").unlink()
        except OSError:
            seen = False
        if not seen and self.run.shards == "workers":
            raise ExecutorError(f"{self.where} cannot write in {folder}",
                                fix='shards = "auto" sends the results back instead')
        return seen

    def _merge(self, receipt: Receipt, round: int) -> None:
        """The team's many small shards as one (a kind of row each), where results belong."""
        here = self._store(self.folder)
        kinds: dict[tuple, list[Shard]] = {}
        for name in receipt.shards:
            shard = Shard(self.folder / "shards" / name)
            kinds.setdefault(shard.signature, []).append(shard)
        receipt.shards = []
        for shards in kinds.values():
            table = Simulations(here, round, shards=shards)
            for rows in table.batches(max(1, len(table))):
                if self.returns:
                    name = f"r{round:04d}-{receipt.chunk}-{len(receipt.payload)}.safetensors"
                    receipt.payload.append((name, b"".join(encode(rows, here.key))))
                else:
                    receipt.shards.append(self._store(Path(str(self.target))).write(rows))
            for shard in shards:
                shard.path.unlink()

    def _store(self, folder: Path) -> Store:
        assert self.job is not None
        store = Store(folder, {})
        store.key = self.job.key
        return store

    def _fetch(self, receipt: Receipt) -> None:
        """Put the shards themselves in the receipt."""
        for name in receipt.shards:
            file = self.folder / "shards" / name
            receipt.payload.append((name, file.read_bytes()))
            file.unlink()
        receipt.shards = []


def run_chunk(name: str, chunk: Chunk) -> Receipt:
    """The Dask task."""
    host = get_worker().plugins.get(name)
    if not isinstance(host, Host):
        return Receipt(chunk.id, lost="the Dask worker does not know this run")
    return host.run_chunk(chunk)


def stop_run(name: str, dask_worker: Any) -> None:
    """Run on every worker to stop a run there."""
    host = dask_worker.plugins.get(name)
    if isinstance(host, Host):
        host.stop()
