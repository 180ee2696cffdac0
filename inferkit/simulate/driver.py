"""The simulate stage: which rows are missing, in which chunks, until all are stored.

Parameters of row i are a function of (seed, round, i): prior draws come in fixed blocks of 4096
rows, each with a generator of its own; a later round's proposals are written down before any of
them runs.  The driver keeps `executor.slots` chunks in flight and sizes the next one from the
measured cost, so that it lasts `TARGET` seconds, shrinking (to `SHORTEST`) towards the end so that
no worker idles while another finishes a long chunk.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inferkit import plugins, seeds
from inferkit.data import Chunk, Receipt
from inferkit.errors import ConfigError, ExecutorError, SimulatorError, unknown_name
from inferkit.plugins import SimulatorSpec
from inferkit.progress import Progress
from inferkit.protocols import Executor, Prior
from inferkit.store import Simulations, Store, compact

BLOCK = 4096
TARGET, SHORTEST = 0.5, 0.02
MAX_ROWS, MAX_BYTES = 65536, 32 << 20
COMPACT_EVERY = 256
PILOT_ROWS = 20
"""When this many simulations have ended and all of them failed, the run stops."""


class PriorDraws:
    """Parameters by index, drawn from the prior in blocks."""

    def __init__(self, prior: Prior, seed: int, round: int = 0):
        self.prior, self.seed, self.round = prior, seed, round
        self._block: tuple[int, dict[str, np.ndarray]] | None = None

    def __call__(self, index: np.ndarray) -> dict[str, np.ndarray]:
        index = np.asarray(index)
        parts: list[dict[str, np.ndarray]] = []
        for b in np.unique(index // BLOCK):
            if self._block is None or self._block[0] != b:
                rng = seeds.generator(self.seed, "theta", self.round, int(b))
                self._block = int(b), self.prior.sample(BLOCK, rng)
            rows = index[index // BLOCK == b] - b * BLOCK
            parts.append({k: np.asarray(v)[rows] for k, v in self._block[1].items()})
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def check_names(simulator: str, built: Any, given: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse parameters (name -> shape) that a simulator does not know, or that it lacks."""
    declared = getattr(built, "parameters", None)
    if not declared:
        return
    known = {p.name: p for p in declared}
    for name, shape in given.items():
        if name not in known:
            raise unknown_name(f"parameter of simulator {simulator!r}", name, known)
        if shape != tuple(known[name].shape):
            raise ConfigError(f"{name!r} has shape {shape}",
                              allowed=f"{tuple(known[name].shape)}, as the simulator says")
    lacking = [n for n, p in known.items() if p.default is None and n not in given]
    if lacking:
        raise SimulatorError(f"there is no value of {', '.join(lacking)}",
                             allowed=f"all parameters that have no default: {', '.join(known)}")


def run(store: Store, spec: SimulatorSpec, executor: Executor,
        draw: Callable[[np.ndarray], dict], round: int, n: int,
        show: Callable[[Progress], None] = lambda p: None, retry_failed: bool = False,
        first: Callable[[Progress], None] | None = None) -> Progress:
    """See to it that rows 0..n-1 of a round are stored; only what is missing runs.

    retry_failed: rows that failed run again, as a further attempt, and what comes of it counts.
    first: called once, when the first rows have succeeded; what it raises ends the run.
    The executor has been opened with the run's job; whoever opened it closes it.
    """
    present, attempt = store.present(round), 0
    if retry_failed:
        table = Simulations(store, round)
        present = table.ok.index
        attempt = 1 + store.attempt(round)
    todo = np.setdiff1d(np.arange(n), present, assume_unique=True)
    progress = Progress(round, n, n - len(todo))
    if len(todo):
        with store.writing():
            driver = Driver(store, spec, executor, draw, round, todo, progress, show, attempt)
            driver.first = first
            driver.run()
            compact(store)
    progress.finished = True
    show(progress)
    return progress


class Driver:
    """Keeps the executor supplied with chunks until every row in `todo` is stored.

    An executor may say more of itself: `target_seconds` and `workers` shape the chunks,
    `chunk_rows(left, cost)` sizes them itself, `adopted(round, wanted)` gives chunks that an
    earlier process left with it, `retries` and `grace` bound losses and the end.
    """

    def __init__(self, store, spec, executor, draw, round, todo, progress, show, attempt=0):
        self.store, self.executor, self.draw, self.round = store, executor, draw, round
        self.attempt = attempt
        self.first: Callable[[Progress], None] | None = None
        self.spec, self.progress, self.show = spec, progress, show
        self.todo: list[np.ndarray] = [todo]
        self.left = len(todo)
        self.flying: dict[str, tuple[Chunk, int]] = {}  # chunk and how often it was lost
        self.arrived: list[Receipt] = []
        self.cost = self.row_bytes = 0.0
        self.shards = 0
        self.last = (spec.batch_size or 16) if spec.vectorised else 1

    def run(self) -> None:
        try:
            self._adopt()
            while self.flying or self.left:
                while self.left and len(self.flying) < max(1, self.executor.slots):
                    self._submit(self._chunk(*self._next()), 0)
                self.arrived += self.executor.wait(0.5)
                while self.arrived:
                    self._take(self.arrived.pop(0))
                if self.shards >= COMPACT_EVERY:  # a slow simulator's shards hold few rows each
                    self.shards = 0
                    compact(self.store)
                self.show(self.progress)
        except BaseException:
            self._stop()
            raise

    def _adopt(self) -> None:
        """Chunks that an earlier process left running, where executors outlive processes."""
        adopted = getattr(self.executor, "adopted", None)
        wanted = self.todo.pop()
        for chunk in adopted(self.round, wanted) if adopted else ():
            self.flying[chunk.id] = chunk, 0
            wanted = np.setdiff1d(wanted, chunk.index, assume_unique=True)
        self.todo, self.left = [wanted] if len(wanted) else [], len(wanted)

    def _chunk(self, index: np.ndarray, theta: dict) -> Chunk:
        return Chunk(uuid.uuid4().hex[:16], self.round, index, theta, self.attempt)

    def _submit(self, chunk: Chunk, losses: int) -> None:
        self.flying[chunk.id] = chunk, losses
        self.executor.submit(chunk)

    def _next(self) -> tuple[np.ndarray, dict]:
        want = self._size()
        rows: list[np.ndarray] = []
        while want and self.todo:
            part = self.todo[0][:want]
            self.todo[0] = self.todo[0][want:]
            if not len(self.todo[0]):
                self.todo.pop(0)
            rows.append(part)
            want -= len(part)
            self.left -= len(part)
        index = np.sort(np.concatenate(rows))
        return index, self.draw(index)

    def _size(self) -> int:
        size = self.last
        chooses = getattr(self.executor, "chunk_rows", None)
        if chooses is not None:  # a queue makes small first steps costly: it knows better
            size = min(chooses(self.left, self.cost), MAX_ROWS)
        elif self.cost:
            target = getattr(self.executor, "target_seconds", TARGET)
            size = min(16 * self.last, int(target / self.cost), MAX_ROWS)
            if self.row_bytes:
                size = min(size, int(MAX_BYTES / self.row_bytes))
            workers = max(1, getattr(self.executor, "workers", 1))
            shortest = getattr(self.executor, "shortest_seconds", SHORTEST)
            tail = max(-(-self.left // (2 * workers)), int(shortest / self.cost))
            size = min(size, tail, self.left)
        if chooses is None and self.progress.done < PILOT_ROWS:  # if all fail, few shall have run
            size = min(size, PILOT_ROWS)
        if self.spec.batch_size:
            size = -(-size // self.spec.batch_size) * self.spec.batch_size
        self.last = max(1, size)
        return self.last

    def _take(self, receipt: Receipt) -> None:
        chunk, losses = self.flying.get(receipt.chunk, (None, 0))
        if not receipt.partial:
            self.flying.pop(receipt.chunk, None)
        for name, data in receipt.payload:
            receipt.shards.append(self.store.write_encoded(name, [data]))
        self.shards += len(receipt.shards)
        p = self.progress
        p.done += receipt.rows
        p.counts.update(receipt.counts)
        p.messages.update(receipt.messages)
        p.sim_seconds += receipt.seconds
        p.notes |= {receipt.note} - {""}
        if receipt.rows and receipt.seconds:
            new = receipt.seconds / receipt.rows
            self.cost = new if not self.cost else 0.7 * self.cost + 0.3 * new
            self.row_bytes = receipt.nbytes / receipt.rows
        if receipt.rows:
            observe(self.store, receipt)
        if receipt.error is not None:
            raise receipt.error
        self._hopeless()
        if self.first is not None and p.counts["ok"]:
            first, self.first = self.first, None
            first(p)
        if receipt.partial or chunk is None or receipt.rows >= len(chunk):
            return
        if receipt.lost and losses >= getattr(self.executor, "retries", 5):
            raise ExecutorError(
                f"a chunk of {len(chunk)} simulations was lost {losses + 1} times: {receipt.lost}",
                fix=f"what finished is stored; inferkit resume {self.store.path}")
        rest = np.setdiff1d(chunk.index, self.store.present(self.round, self.attempt))
        if receipt.lost and len(rest):
            # Lost again and again, it goes on in halves: less to lose, and the culprit is cornered.
            losses = losses + 1 if len(rest) == len(chunk) else 0
            for part in np.array_split(rest, min(2, len(rest)) if losses > 1 else 1):
                self._submit(self._chunk(part, self.draw(part)), losses)
        elif len(rest):
            self.todo.append(rest)
            self.left += len(rest)

    def _hopeless(self) -> None:
        p = self.progress
        if p.done >= min(PILOT_ROWS, p.total) and not p.counts["ok"] and p.before == 0:
            told = "\n    ".join(m for m, _ in p.messages.most_common(3))
            raise SimulatorError(
                f"all of the first {p.done} simulations failed ({dict(p.counts)}):\n    {told}",
                fix="mend it and run again: a changed study begins anew where nothing succeeded "
                    "(failures elsewhere: retry_failed=True, --retry-failed)")

    def _stop(self) -> None:
        """Ctrl-C or an error: let what runs finish within the executor's grace, and keep it."""
        self.executor.cancel()
        end = time.monotonic() + getattr(self.executor, "grace", 10.0)
        while self.arrived or (self.flying and time.monotonic() < end):
            for receipt in self.arrived or self.executor.wait(0.2):
                if not receipt.partial:
                    self.flying.pop(receipt.chunk, None)
                for name, data in receipt.payload:
                    self.store.write_encoded(name, [data])
                self.progress.done += receipt.rows
                self.progress.counts.update(receipt.counts)
            self.arrived = []
        self.show(self.progress)


def observe(store: Store, receipt: Any) -> None:
    """Tell the observers; one that fails is reported and does not stop the run."""
    try:
        plugins.observers().inferkit_batch_stored(path=str(store.path), receipt=receipt)
    except Exception as cause:
        import warnings

        warnings.warn(f"hook inferkit_batch_stored failed: {type(cause).__name__}: {cause}",
                      stacklevel=2)
