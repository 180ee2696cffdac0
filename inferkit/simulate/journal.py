"""What a worker leaves behind when it dies: the journal of what it was running, and the alarm.

The journal is a file of short lines (run, end, shard) that the next attempt reads: the rows that
were running are under suspicion, those in a shard are done.  The alarm ends a call that lasts too
long, even inside C code that never lets go of the interpreter.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class Journal:
    """What was tried, in a file that outlives the process.  Lines: run, end, time or shard."""

    def __init__(self, path: Path | None):
        self.path = path
        self.deaths: dict[tuple[int, int], int] = {}
        self.timeouts: set[tuple[int, int]] = set()
        self.written: set[int] = set()
        self.shards: list[str] = []
        self.counts: dict[str, int] = {}
        self.messages: list[str] = []
        self._fd = -1
        self._hung: list[tuple[int, int]] = []
        if path is None:
            return
        if path.exists():
            self._read(path.read_text())
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for a, b in self._hung:  # the alarm's file is used again, so it is noted here
            self._line(f"time {a},{b}\n")

    def _read(self, text: str) -> None:
        running: tuple[int, int] | None = None
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word == "run":
                self._died(running)
                first, stop = rest.split(",")
                running = int(first), int(stop)
            elif word == "end":
                running = None
            elif word == "time":
                a, b = rest.split(",")
                self.timeouts.add((int(a), int(b)))
            elif word == "shard":
                told = json.loads(rest)
                self.shards.append(told["name"])
                self.written.update(told["positions"])
                self.messages += told["messages"]
                for status, count in told["counts"].items():
                    self.counts[status] = self.counts.get(status, 0) + count
        self._died(running)
        alarm = self.alarm_file
        if running and alarm and alarm.exists() and alarm.stat().st_size:
            if running not in self.timeouts:
                self._hung.append(running)
            self.timeouts.add(running)

    def _died(self, segment: tuple[int, int] | None) -> None:
        if segment:
            self.deaths[segment] = self.deaths.get(segment, 0) + 1

    @property
    def alarm_file(self) -> Path | None:
        return self.path.with_suffix(".alarm") if self.path else None

    def _line(self, text: str) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # a full disk costs the journal, not the work
                os.write(self._fd, text.encode())

    def run(self, segment: tuple[int, int]) -> None:
        self._line(f"run {segment[0]},{segment[1]}\n")

    def end(self) -> None:
        self._line("end\n")

    def shard(self, name: str, **told: Any) -> None:
        self._line(f"shard {json.dumps({'name': name, **told})}\n")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextlib.contextmanager
def alarm(timeout: float | None, file: Path | None) -> Iterator[Callable[[bool], None]]:
    """Yields arm(on): while armed, a call longer than `timeout` ends.

    In a worker process the kernel's timer kills it, even inside C code that holds the interpreter;
    the traceback of where it hung goes to `file`, which is how the next attempt knows it was time.
    In the user's own process (no file) the timer raises TimeoutError, in the main thread only.
    """
    usable = timeout is not None and hasattr(signal, "setitimer")
    if not usable or (file is None and threading.current_thread() is not threading.main_thread()):
        yield lambda on: None
        return

    def arm(on: bool) -> None:
        signal.setitimer(signal.ITIMER_REAL, (timeout or 0.0) if on else 0.0)

    if file is not None:
        with file.open("wb") as f:
            faulthandler.register(signal.SIGALRM, file=f, all_threads=False, chain=True)
            try:
                yield arm
            finally:
                arm(False)
                faulthandler.unregister(signal.SIGALRM)
        return

    def late(signum: int, frame: Any) -> None:
        raise TimeoutError(f"ran longer than {timeout:g} s")

    before = signal.signal(signal.SIGALRM, late)
    try:
        yield arm
    finally:
        arm(False)
        signal.signal(signal.SIGALRM, before)
