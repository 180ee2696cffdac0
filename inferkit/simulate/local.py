"""The local executor: worker processes on this machine, or none at all (`workers=0`).

Each worker is served by a thread that hands it a chunk and waits for the receipt.  When the
process dies, the thread starts another and hands it the same chunk with the same journal (see
`inferkit.simulate.chunk`), until every row has an outcome.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal

from inferkit.data import Chunk, Job, Receipt
from inferkit.errors import ConfigError, ExecutorError
from inferkit.simulate.chunk import run_chunk
from inferkit.simulate.journal import Journal
from inferkit.simulate.scratch import Scratch
from inferkit.simulate.worker import receive, send

UNEXPLAINED = 10
"""Deaths of a worker outside any simulation after which its chunk is given up."""

STILLBORN = 5
"""Workers that die before they are ready, one after the other, after which it is given up."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class LocalConfig:
    """Settings of the local executor.

    workers: processes; "auto" is one a core; 0 runs in this process (no protection from crashes).
    threads: threads each worker may use.
    memory: limit a worker, such as "4GB"; beyond it a simulation fails with status `memory`.
    recycle_growth: a worker that has grown by this much is replaced (leaky simulators).
    """

    workers: int | Literal["auto"] = "auto"
    threads: int = 1
    memory: str = ""
    recycle_growth: str = "2GB"

    def __post_init__(self):
        if self.workers != "auto" and self.workers < 0:
            raise ConfigError(f"executor 'local': workers is {self.workers}", allowed="0, 1, 2, …")
        if self.threads < 1:
            raise ConfigError(f"executor 'local': threads is {self.threads}", allowed="1, 2, …")
        parse_bytes(self.memory)
        parse_bytes(self.recycle_growth)


def parse_bytes(text: str) -> int:
    """ "4GB" as a number; "" is 0."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    digits = text.strip().rstrip("kKmMgGtTiIbB")
    unit = text.strip()[len(digits):].upper().replace("I", "").strip()
    try:
        return int(float(digits or 0) * units[unit])
    except (KeyError, ValueError):
        raise ConfigError(f"{text!r} is no amount of memory", fix='"4GB" or "500MB"') from None


def core_count() -> int:
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


LATE = 5.0
"""Seconds beyond twice the timeout after which a worker is ended from outside."""


class WorkerProcess:
    """One worker process, started when first needed and again whenever it dies."""

    def __init__(self, job: Job, folder: Path, config: LocalConfig):
        self.job, self.folder, self.config = job, folder, config
        self.process: subprocess.Popen | None = None
        self.log = folder / f"worker-{id(self)}.log"
        self.stopping = False
        self._base_rss = 0

    def run(self, chunk: Chunk) -> Receipt:
        """The chunk's receipt, through as many deaths of the process as it takes."""
        journal = self.folder / f"{chunk.id}.journal"
        deaths = stillborn = 0
        while not self.stopping:
            try:
                process = self._running()
                if isinstance(process, Receipt):
                    process.chunk = chunk.id
                    return process
                stillborn = 0
                send(process.stdin, (chunk, str(journal)))  # type: ignore[arg-type]
                self._watch(process, journal)
                receipt = receive(process.stdout)  # type: ignore[arg-type]
                journal.unlink(missing_ok=True)
                self._recycle(receipt.rss)
                if receipt.stopped and not self.stopping:
                    self.close()  # somebody else told it to end: another takes its place
                return receipt
            except (EOFError, OSError):
                started = self._reap()
                deaths += 1
                stillborn += not started
                explained = Journal(journal)
                explained.close()
                if stillborn >= STILLBORN or deaths - sum(explained.deaths.values()) >= UNEXPLAINED:
                    return Receipt(chunk.id, error=self._gave_up())
        return Receipt(chunk.id, stopped=True)

    def _watch(self, process: subprocess.Popen, journal: Path) -> None:
        """Wait for an answer; end a process that outlives its own alarm.

        A simulator may ignore SIGALRM, clear it, or be stopped: then nothing inside the process ends
        it.  The journal says when the present call began; one that lasts twice the timeout, and
        `LATE` seconds more, is convicted here.
        """
        if self.job.timeout is None or os.name == "nt":  # no select on pipes there
            return
        patience = 2 * self.job.timeout + LATE
        told, since = b"", time.monotonic()
        answer: Any = process.stdout
        while not wait([answer], min(1.0, patience / 4)):
            held = journal.read_bytes() if journal.exists() else b""
            if held != told:
                told, since = held, time.monotonic()
            last = told.decode(errors="replace").rstrip().rpartition("\n")[2]
            if last.startswith("run ") and time.monotonic() - since > patience:
                process.kill()
                with journal.open("a") as f:
                    f.write(f"time {last[4:]}\n")
                return

    def _running(self) -> subprocess.Popen | Receipt:
        if self.process is not None:
            return self.process
        env = {**os.environ, **dict.fromkeys(THREADS, str(self.config.threads))}
        if self.config.threads == 1:
            env.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false "
                                        "intra_op_parallelism_threads=1")
        # The new session keeps a terminal's Ctrl-C from the workers: the parent tells them.
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "inferkit.simulate.worker"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, env=env, start_new_session=os.name != "nt",
            )
        self._started = False
        send(self.process.stdin, {  # type: ignore[arg-type]
            "job": self.job.to_json(), "memory": parse_bytes(self.config.memory),
            "sys_path": [p or str(Path.cwd()) for p in sys.path],
        })
        answer = receive(self.process.stdout)  # type: ignore[arg-type]
        if answer != "ready":
            self.close()
            return answer
        self._started = True
        self._base_rss = 0
        return self.process

    def _reap(self) -> bool:
        """Wait for the dead process; whether it had got as far as being ready."""
        process, self.process = self.process, None
        if process is not None:
            _shut(process)
            process.kill()
            process.wait()
        return getattr(self, "_started", False)

    def _gave_up(self) -> ExecutorError:
        with contextlib.suppress(OSError):
            tail = self.log.read_text(errors="replace").strip().splitlines()[-8:]
            return ExecutorError("worker processes die before or between simulations:\n    "
                                 + "\n    ".join(tail or ["(they said nothing)"]),
                                 fix="inferkit check study.toml")
        return ExecutorError("worker processes die before or between simulations")

    def _recycle(self, rss: int) -> None:
        self._base_rss = self._base_rss or rss
        if rss - self._base_rss > parse_bytes(self.config.recycle_growth) > 0:
            self.close()

    def interrupt(self) -> None:
        """Ask it to stop after the simulation it is in."""
        self.stopping = True
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.terminate()

    def close(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()  # between chunks it holds nothing, and a slow exit is time lost
        _shut(process)
        process.wait()


def _shut(process: subprocess.Popen) -> None:
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            stream.close()  # type: ignore[union-attr]


class LocalExecutor:
    """Chunks on this machine."""

    grace = 10.0
    """Seconds that running simulations get to finish when the run is stopped."""

    def __init__(self, config: LocalConfig | None = None):
        self.config = config or LocalConfig()
        workers = self.config.workers
        self.workers = core_count() if workers == "auto" else workers
        # One chunk waits behind each running one, so that no worker idles between two.
        self.slots = max(1, 2 * self.workers)
        self._todo: queue.Queue = queue.Queue()
        self._done: queue.Queue = queue.Queue()
        self._held: list[WorkerProcess] = []
        self._threads: list[threading.Thread] = []

    def open(self, job: Job) -> None:
        self.job = job
        self._folder = Scratch()

    def submit(self, chunk: Chunk) -> str:
        self._todo.put(chunk)
        if len(self._threads) < min(self.workers, self._todo.qsize() + len(self._threads)):
            worker = WorkerProcess(self.job, self._folder.path, self.config)
            thread = threading.Thread(target=self._serve, args=(worker,), daemon=True)
            self._held.append(worker)
            self._threads.append(thread)
            thread.start()
        return chunk.id

    def _serve(self, worker: WorkerProcess) -> None:
        while (chunk := self._todo.get()) is not None:
            try:
                self._done.put(worker.run(chunk))
            except BaseException as cause:  # noqa: B036 - a thread that dies silently hangs the run
                self._done.put(Receipt(chunk.id, error=ExecutorError(
                    f"the local executor failed: {type(cause).__name__}: {cause}")))

    def wait(self, timeout: float) -> list[Receipt]:
        if self.workers == 0:
            return [] if self._todo.empty() else [run_chunk(self.job, self._todo.get())]
        receipts: list[Any] = []
        with contextlib.suppress(queue.Empty):
            receipts.append(self._done.get(timeout=timeout))
            while True:
                receipts.append(self._done.get_nowait())
        return receipts

    def cancel(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._done.put(Receipt(self._todo.get_nowait().id, stopped=True))
        for worker in self._held:
            worker.interrupt()

    def close(self) -> None:
        for _ in self._threads:
            self._todo.put(None)
        for worker in self._held:
            worker.stopping = True
            worker.close()
        for thread in self._threads:
            thread.join(timeout=5)
        self._held, self._threads = [], []
        self._folder.cleanup()
