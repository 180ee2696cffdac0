"""`run_chunk`: the one piece of code that runs simulations, wherever an executor puts it.

It calls the simulator batch by batch, turns whatever goes wrong into a row's status, and writes
shards as it goes.  Before each call it journals which rows it is about to run.  If the process dies
there (SIGKILL, a segfault, out of memory, a hang that the alarm ends), the chunk is run again with
the same journal: rows already written are skipped, a batch that died is split in eight, and a
single row that died `DEATHS` times is convicted.  So one deadly simulation costs one row, not its
batch, and the culprit has a name, under every executor alike.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import seeds
from inferkit.data import Chunk, Job, Ragged, Receipt
from inferkit.errors import InferkitError, SimulatorError
from inferkit.plugins import component
from inferkit.simulate.journal import Journal, alarm
from inferkit.simulate.outputs import checked_output, finite, join, mark_nonfinite
from inferkit.store import STATUS, Rows, Store, encode
from inferkit.store.shard import storable

DEATHS = 3
SPLIT = 8
FLUSH_SECONDS, FLUSH_BYTES = 1.0, 32 << 20


_built: dict[str, Any] = {}


def simulator_of(job: Job) -> tuple[Any, Any]:
    """The job's simulator, built once a process, and its record."""
    reference = json.dumps(job.simulator, sort_keys=True)
    if reference not in _built:
        chosen = component.from_reference(job.simulator)
        try:
            built = chosen.build()
            if hasattr(built, "prepare"):
                built.prepare()
        except InferkitError:
            raise
        except Exception as cause:
            raise SimulatorError(
                f"simulator {chosen.name!r} cannot be built: {type(cause).__name__}: {cause}",
                fix=f"inferkit plugins check {chosen.name}") from cause
        _built.clear()  # one at a time: it may be large
        _built[reference] = (built, chosen.spec)
    return _built[reference]


def run_chunk(job: Job, chunk: Chunk, *, journal: Journal | None = None,
              stop: Callable[[], bool] = lambda: False) -> Receipt:
    """Run a chunk's rows; every row that ends is in a shard before the receipt says so."""
    receipt = Receipt(chunk.id)
    journal = journal or Journal(None)
    receipt.shards, receipt.counts = journal.shards, journal.counts
    receipt.messages = journal.messages
    try:
        simulator, spec = simulator_of(job)
        runner = _Runner(job, chunk, simulator, spec, journal, receipt, stop)
        with alarm(job.timeout, journal.alarm_file) as runner.arm:
            try:
                runner.run()
            except KeyboardInterrupt:  # in the user's own process: keep what finished
                runner.flush()
                raise
        receipt.note = str(getattr(simulator, "note", ""))
    except InferkitError as cause:
        receipt.error = cause
    finally:
        journal.close()
    return receipt


def _words(cause: BaseException) -> str:
    """What an exception says; one that cannot say it does not end the chunk."""
    try:
        return str(cause)
    except Exception as broken:
        return f"(its __str__ raised {type(broken).__name__})"


class _Runner:
    """One pass over one chunk: its buffer of finished rows and where they go."""

    def __init__(self, job, chunk, simulator, spec, journal, receipt, stop):
        self.job, self.chunk, self.spec, self.journal = job, chunk, spec, journal
        self.simulator, self.receipt, self.stop = simulator, receipt, stop
        self.seeds = seeds.row_seeds(job.seed, chunk.round, chunk.index)
        self.outputs = {o.name: o for o in (getattr(simulator, "outputs", None) or ())}
        # One that declares its parameters is given no others: the estimator may have some of its own.
        self.known = {p.name for p in (getattr(simulator, "parameters", None) or ())}
        self.like: dict[str, tuple] = {}  # row shape and type of each output
        self.arm: Callable[[bool], None] = lambda on: None
        self.why: dict[int, str] = {}  # what the simulator says of rows that are not finite
        self.careful = bool(journal.deaths)  # write after each call, so that nothing runs twice
        self._reset()

    def _reset(self) -> None:
        self.done: list[tuple[np.ndarray, int, float, dict | None, str]] = []
        self.held, self.since = 0, time.monotonic()

    def run(self) -> None:
        n = len(self.chunk)
        # Never longer than the compiled batch; row by row where that is all the simulator can do.
        step = self.spec.batch_size or n if self.spec.vectorised else 1
        for a in range(0, n, step):
            if self.stop():
                self.receipt.stopped = True
                break
            if not self._solve(a, min(n, a + step)):
                break
        self.flush()

    def _solve(self, a: int, b: int) -> bool:
        """Run rows a..b-1, in parts if need be; False to stop."""
        if all(i in self.journal.written for i in range(a, b)):
            self.receipt.rows += b - a
            return True
        deaths = self.journal.deaths.get((a, b), 0)
        hung = (a, b) in self.journal.timeouts
        if deaths and b - a > 1:
            return self._split(a, b)
        if hung:
            self._fail(a, "timeout", f"ran longer than {self.job.timeout:g} s")
            return True
        if deaths >= DEATHS:
            self._fail(a, "crash", f"its process died {deaths} times while it ran "
                                   "(killed, crashed or out of memory)")
            return True
        self.journal.run((a, b))
        started = time.monotonic()
        status, result, message = self._call(a, b)
        spent = time.monotonic() - started
        self.why |= {a + int(i): text for i, text in getattr(self.simulator, "messages", {}).items()}
        self.journal.end()
        self.receipt.seconds += spent
        if status != "ok" and b - a > 1:
            return self._split(a, b)
        self._keep(np.arange(a, b), status, spent, result, message)
        if (self.careful or self.held > FLUSH_BYTES
                or time.monotonic() - self.since > FLUSH_SECONDS):
            self.flush()
        return True

    def _split(self, a: int, b: int) -> bool:
        step = -(-(b - a) // SPLIT)
        for c in range(a, b, step):
            if self.stop():
                self.receipt.stopped = True
                return False
            if not self._solve(c, min(b, c + step)):
                return False
        return True

    def _call(self, a: int, b: int) -> tuple[str, dict | None, str]:
        # Copies: a simulator that changes its arguments must not change what is stored.
        theta = {k: v[a:b].copy() for k, v in self.chunk.theta.items()
                 if not self.known or k in self.known}
        row_seeds = self.seeds[a:b]
        pad = (self.spec.batch_size or 0) - (b - a)
        if pad > 0:  # a compiled batch has one shape: fill up with the last row
            theta = {k: np.concatenate([v, np.repeat(v[-1:], pad, 0)]) for k, v in theta.items()}
            row_seeds = np.concatenate([row_seeds, np.repeat(row_seeds[-1:], pad)])
        try:
            self.arm(True)
            try:
                with np.errstate(all="ignore"):
                    result = self.simulator.simulate(theta, row_seeds)
            finally:
                self.arm(False)
            return "ok", self._checked(result, len(row_seeds), b - a), ""
        except MemoryError as cause:
            return "memory", None, f"out of memory: {cause}"
        except TimeoutError as cause:
            return "timeout", None, str(cause) or "the simulator raised TimeoutError"
        except SimulatorError as cause:
            return "invalid", None, str(cause)
        except (Exception, SystemExit) as cause:
            where = traceback.extract_tb(cause.__traceback__)[-1]
            return "exception", None, (f"{type(cause).__name__}: {_words(cause)} "
                                       f"({Path(where.filename).name}:{where.lineno})")

    def _checked(self, result: Any, n: int, keep: int) -> dict:
        if not isinstance(result, dict) or not result:
            raise SimulatorError(f"simulate returned {type(result).__name__}",
                                 allowed="a dict of arrays by name")
        if self.outputs and set(result) != set(self.outputs):
            raise SimulatorError(f"simulate returned {sorted(result)}",
                                 allowed=f"the declared outputs {sorted(self.outputs)}")
        checked = {name: checked_output(name, value, n, self.outputs.get(name))[:keep]
                   for name, value in result.items()}
        like = {k: (None if isinstance(v, Ragged) else v.shape[1:], v.dtype)
                for k, v in checked.items()}
        if self.like and like != self.like:
            # One shard holds one kind of row.  Which kind is the odd one is for the reader to say,
            # who sees them all; a chunk would judge by whichever row came first in it.
            self.flush()
        self.like = like
        return checked

    def _keep(self, rows: np.ndarray, status: str, spent: float, result: dict | None,
              message: str) -> None:
        self.done.append((rows, STATUS.index(status), spent / len(rows), result, message))
        self.held += sum(v.values.nbytes if isinstance(v, Ragged) else v.nbytes
                         for v in (result or {}).values())

    def _fail(self, row: int, status: str, message: str) -> None:
        self._keep(np.array([row]), status, 0.0, None, message)
        self.flush()

    def flush(self) -> None:
        """Write the finished rows as one shard (or hand it back in the receipt)."""
        if not self.done:
            return
        rows = self._rows()
        counts = np.bincount(rows.status, minlength=len(STATUS))
        told = {label: int(c) for label, c in zip(STATUS, counts) if c}
        messages = list(rows.messages.values())[:20]
        if self.job.store is not None:
            store = Store(Path(self.job.store), {})
            store.key = self.job.key
            name = store.write(rows)
            self.receipt.shards.append(name)
            positions = np.concatenate([d[0] for d in self.done]).tolist()
            self.journal.shard(name, positions=positions, counts=told, messages=messages)
        else:
            name = f"r{rows.round:04d}-{self.chunk.id}-{len(self.receipt.payload)}.safetensors"
            self.receipt.payload.append((name, b"".join(encode(rows, self.job.key))))
        for label, count in told.items():
            self.receipt.counts[label] = self.receipt.counts.get(label, 0) + count
        self.receipt.messages += messages
        self.receipt.rows += len(rows)
        self.receipt.nbytes += self.held
        self._reset()

    def _rows(self) -> Rows:
        at = np.concatenate([d[0] for d in self.done])
        status = np.concatenate([np.full(len(d[0]), d[1], np.uint8) for d in self.done])
        seconds = np.concatenate([np.full(len(d[0]), d[2], np.float32) for d in self.done])
        x = join(self.done)
        status = mark_nonfinite(status, x, self.outputs)
        index = self.chunk.index[at]
        messages = {int(self.chunk.index[d[0][0]]): d[4] for d in self.done if d[4]}
        for i in np.flatnonzero(status == STATUS.index("nonfinite")):
            bad = [k for k, v in x.items() if not finite(v[int(i) : int(i) + 1])]
            messages[int(index[i])] = self.why.get(int(at[i]), f"NaN or Inf in {', '.join(bad)}")
        theta = {k: storable(v[at]) for k, v in self.chunk.theta.items()}
        return Rows(self.chunk.round, index, status, seconds, theta, x, messages,
                    self.chunk.attempt)
