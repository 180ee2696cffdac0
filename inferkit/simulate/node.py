"""`python -m inferkit.simulate.node BATCH.json`: runs staged simulations where nobody listens.

Queue systems start it on a cluster's node.  Beside the batch's JSON lies its data (.npz: the rows
and their parameters); `write_batch` makes both.  The rows run on the node's cores through the local
executor, with its timeouts and its protection from crashes.  What finishes is published every few
seconds as a shard in `shards/` and then as a line in `manifest-0.jsonl` that gives its size and
SHA-256, so a reader elsewhere takes only what is whole, while the batch runs and after it was
killed.  The batch stops by itself before its time is up.

Where a launcher starts several processes (`srun`), each takes every k-th row and has its own
manifest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import signal
import socket
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.data import Chunk, Job
from inferkit.errors import InferkitError
from inferkit.plugins import component
from inferkit.progress import Progress
from inferkit.simulate.driver import Driver
from inferkit.simulate.local import LocalConfig, LocalExecutor
from inferkit.store import Shard, Simulations, encode, write_atomic

FORMAT = "inferkit-batch-1"
JSON, DATA = "inferkit.json", "inferkit.npz"
PUBLISH_BYTES = 16 << 20
SIGNAL_GRACE = 8.0
"""Seconds that simulations get after a signal: batch systems kill half a minute later."""
RANKS = (("SLURM_PROCID", "SLURM_NTASKS"), ("PMI_RANK", "PMI_SIZE"),
         ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"))


# -- what is staged and what is read back ----------------------------------------------------------


def write_batch(job: Job, chunk: Chunk, **settings: Any) -> dict[str, bytes]:
    """The files to stage for a chunk, by name.  Settings are `Settings`' fields."""
    held = io.BytesIO()
    arrays: dict[str, Any] = {f"theta/{k}": v for k, v in chunk.theta.items()}
    np.savez(held, index=chunk.index, **arrays)
    data = held.getvalue()
    told = {
        "format": FORMAT, "job": dataclasses.asdict(dataclasses.replace(job, store=None)),
        "chunk": chunk.id, "round": chunk.round, "rows": to_ranges(chunk.index),
        "attempt": chunk.attempt, "sha256": hashlib.sha256(data).hexdigest(),
        "settings": dataclasses.asdict(Settings(**settings)),
    }
    return {DATA: data, JSON: json.dumps(told).encode()}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a batch runs.  `stop_after`: seconds after which it begins to stop, within `grace`."""

    workers: int | str = "auto"
    threads: int = 1
    memory: str = ""
    stop_after: float | None = None
    grace: float = 20.0
    publish_seconds: float = 30.0
    progress_file: str = ""
    ranks: int = 1


def to_ranges(index: np.ndarray) -> list[list[int]]:
    """Sorted indices as [first, last + 1] pairs."""
    index = np.asarray(index)
    if not len(index):
        return []
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    return [[int(part[0]), int(part[-1]) + 1] for part in np.split(index, cuts)]


def from_ranges(ranges: list) -> np.ndarray:
    return np.concatenate([np.arange(a, b) for a, b in ranges] or [np.empty(0, np.int64)])


def manifest_name(rank: int) -> str:
    return f"manifest-{rank}.jsonl"


def seal(told: dict) -> bytes:
    """A manifest's line: JSON that carries its own checksum."""
    text = json.dumps(told, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def read_manifest(data: bytes) -> tuple[list[dict], int]:
    """The whole lines at the start of `data`, and how many bytes they take.

    It ends at the first line that is not whole: more may come, or the transfer was cut.
    """
    lines, used = [], 0
    for line in data.splitlines(keepends=True):
        crc, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text):
            break
        lines.append(json.loads(text))
        used += len(line)
    return lines, used


# -- on the node -----------------------------------------------------------------------------------


class Held(Shard):
    """A shard in memory."""

    def __init__(self, name: str, data: bytes):
        self.path, self._data = Path(name), data
        self._parse()

    def _content(self) -> bytes:
        return self._data


class Outbox:
    """Stands in for the store: gathers small shards and publishes larger ones."""

    def __init__(self, folder: Path, job: Job, batch: dict, rank: int, total: int):
        self.path, self.job, self.rank, self.total = folder, job, rank, total
        self.settings = Settings(**batch["settings"])
        self.prefix = f"r{batch['round']:04d}-{batch['chunk']}-{rank}"
        self.files = 0
        self.seen: list[np.ndarray] = []
        self.published = 0
        self._held: list[Held] = []
        self._seconds = 0.0
        self._last = time.monotonic()
        (folder / "shards").mkdir(exist_ok=True)
        self._manifest = os.open(folder / manifest_name(rank),
                                 os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def line(self, kind: str, **told: Any) -> None:
        os.write(self._manifest, seal({"kind": kind, "at": round(time.time(), 3), **told}))
        os.fsync(self._manifest)

    def write_encoded(self, name: str, pieces: list) -> str:
        shard = Held(name, b"".join(pieces))
        self._held.append(shard)
        self.seen.append(shard.index)
        return name

    def present(self, round: int) -> np.ndarray:
        return np.unique(np.concatenate(self.seen)) if self.seen else np.empty(0, np.int64)

    def due(self) -> bool:
        return bool(self._held) and (
            time.monotonic() - self._last >= self.settings.publish_seconds
            or sum(s.nbytes for s in self._held) >= PUBLISH_BYTES)

    def publish(self, seconds: float) -> None:
        """What has gathered as one shard or a few, then a line each.  `seconds`: simulated so far."""
        if not self._held:
            return
        table = Simulations(None, shards=self._held)  # type: ignore[arg-type]
        nbytes = sum(s.nbytes for s in self._held)
        size = max(1, int(2 * PUBLISH_BYTES / nbytes * len(table)))
        for rows in table.batches(size):
            name = f"shards/{self.prefix}-{self.files:05d}.safetensors"
            data = b"".join(encode(rows, self.job.key))
            write_atomic(self.path / name, [data])
            counts = {s: int(c) for s, c in _counts(rows.status).items()}
            spent, self._seconds = seconds - self._seconds, seconds
            self.line("shard", name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest(),
                      rows=to_ranges(rows.index), counts=counts, seconds=round(spent, 6),
                      messages=list(rows.messages.values())[:20])
            self.files += 1
            self.published += len(rows)
        self._held, self._last = [], time.monotonic()
        if self.settings.progress_file and self.rank == 0:
            write_atomic(self.path / self.settings.progress_file,
                         [f"{self.published / self.total:.6f}".encode()])

    def close(self) -> None:
        os.close(self._manifest)


def _counts(status: np.ndarray) -> dict[str, int]:
    from inferkit.store import STATUS

    found, many = np.unique(status, return_counts=True)
    return {STATUS[i]: n for i, n in zip(found, many)}


class _Told(BaseException):
    """Time is up, or somebody asked the batch to stop."""


def run(file: Path) -> int:
    """Run a batch; 0 where it ended or stopped in time, 3 where it cannot run at all."""
    batch = json.loads(file.read_text())
    settings = Settings(**batch["settings"])
    # The job's clock, not Python's, where whoever started us has noted it.
    started = float(os.environ.get("INFERKIT_STARTED") or time.time())
    rank, ranks = _rank() if settings.ranks > 1 else (0, 1)
    job = Job(**batch["job"])
    data = (file.parent / DATA).read_bytes()
    if batch["format"] != FORMAT or hashlib.sha256(data).hexdigest() != batch["sha256"]:
        print(f"{file}: the staged files do not belong together", file=sys.stderr)
        return 4
    with np.load(io.BytesIO(data), allow_pickle=False) as held:
        index = held["index"]
        theta = {k.removeprefix("theta/"): held[k] for k in held.files if k != "index"}
    mine = index[rank::ranks]
    outbox = Outbox(file.parent, job, batch, rank, max(1, len(mine)))
    progress = Progress(batch["round"], len(mine), before=1)  # never "hopeless" by itself
    why, told = "done", False

    def show(p: Progress) -> None:
        nonlocal told
        if outbox.due():
            outbox.publish(p.sim_seconds)
        if not told and settings.stop_after and time.time() - started > settings.stop_after:
            told = True
            raise _Told("time")

    def asked(signum: int, frame: Any) -> None:
        nonlocal told
        if not told:
            told = True
            executor.grace = min(settings.grace, SIGNAL_GRACE)
            raise _Told("signal")

    executor = LocalExecutor(LocalConfig(settings.workers, settings.threads, settings.memory))  # type: ignore[arg-type]
    executor.grace = settings.grace
    outbox.line("begin", host=socket.gethostname(), pid=os.getpid(), ranks=ranks,
                workers=executor.workers, python=sys.version.split()[0])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, asked)
    try:
        if len(mine):
            spec: Any = component.from_reference(job.simulator).spec
            executor.open(job)
            try:
                Driver(
                    outbox, spec, executor,
                    lambda rows: {k: v[np.searchsorted(index, rows)] for k, v in theta.items()},
                    batch["round"], mine, progress, show,
                ).run()
            finally:
                told = True  # a signal must not break off what follows
                executor.close()
    except _Told as cause:
        why = str(cause)
    except InferkitError as cause:
        why = "error"
        outbox.line("error", type=type(cause).__name__, what=cause.what, allowed=cause.allowed,
                    fix=cause.fix)
    told = True
    with contextlib.suppress(InferkitError):
        outbox.publish(progress.sim_seconds)
    note = "; ".join(sorted(progress.notes))
    outbox.line("end", why=why, rows=outbox.published, seconds=round(time.time() - started, 3),
                note=note)
    outbox.close()
    print(f"inferkit.simulate.node: {outbox.published} of {len(mine)} simulations, {why}",
          *filter(None, [note]), sep="\n")
    return 3 if why == "error" else 0


def _rank() -> tuple[int, int]:
    for rank, ranks in RANKS:
        if rank in os.environ and ranks in os.environ:
            return int(os.environ[rank]), int(os.environ[ranks])
    return 0, 1


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m inferkit.simulate.node BATCH.json", file=sys.stderr)
        return 2
    return run(Path(sys.argv[1]).absolute())


if __name__ == "__main__":
    sys.exit(main())
