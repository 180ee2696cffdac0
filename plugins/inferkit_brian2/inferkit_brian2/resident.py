"""Compiled programs that stay: started at the first call, they fork for each (see serve.cpp).

A process belongs to the Python process that started it: a fork of that one starts its own.  Whatever
interrupts a call (a timeout of the row's, Ctrl-C) kills the program, and the next call starts
another.  A few are kept, those that were used last.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from inferkit.errors import SimulatorError
from inferkit_brian2.cache import held

KEPT = 8
PIPE_BYTES = 1 << 20
_running: list[Resident] = []
_list = threading.Lock()


class Program:
    """A compiled program; `run` is one call of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.lock = held(folder)  # nobody deletes it
        told = json.loads((folder / "program.json").read_text())
        self.arguments: list[str] = told["arguments"]
        self.results: dict[str, str] = told["results"]
        self._resident: Resident | None = None

    def run(self, columns: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, np.ndarray]:
        """columns: a value a row of each argument; what comes back are the results by their keys."""
        call = np.concatenate(
            [
                np.array([len(seeds)], np.uint64),
                np.asarray(seeds, np.uint64),
                *(np.asarray(columns[k], np.float64).view(np.uint64) for k in self.arguments),
            ]
        )
        while True:
            resident = self._resident
            if resident is None or not resident.usable:
                resident = self._resident = Resident(self.folder)
            answer = resident.call(call, self.results)
            if answer is not None:
                return answer


class Resident:
    """A running process of a program; one call at a time."""

    def __init__(self, folder: Path):
        self.busy, self.owner = threading.Lock(), os.getpid()
        self.process = subprocess.Popen(
            [str(folder / "main")],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self.end = weakref.finalize(self, stop, self.process, self.owner)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError, AttributeError):  # fewer turns for large results
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def usable(self) -> bool:
        return self.end.alive and self.owner == os.getpid()

    def call(self, call: np.ndarray, results: Mapping[str, str]) -> dict[str, np.ndarray] | None:
        """The results; None where another thread has ended it first."""
        with self.busy:
            if not self.usable:
                return None
            keep(self)
            try:
                return self._call(call, results)
            except SimulatorError:
                raise
            except BaseException:
                self.end()
                raise

    def _call(self, call: np.ndarray, results: Mapping[str, str]) -> dict[str, np.ndarray]:
        with contextlib.suppress(BrokenPipeError):  # reading says why
            self._write(call)
        status, length, *sizes = self._read(8 * (2 + len(results))).view(np.uint64).tolist()
        said = self._read(length).tobytes().decode(errors="replace").strip()
        if status or "rror" in said:
            for size in sizes:
                self._read(size)
            raise SimulatorError(f"the compiled model ended with {status}: {said[-500:]}")
        return {key: self._read(size).view(dtype) for (key, dtype), size in zip(results.items(), sizes)}

    def _write(self, call: np.ndarray) -> None:
        left = memoryview(call).cast("B")
        while left:
            left = left[self.process.stdin.write(left) :]

    def _read(self, size: int) -> np.ndarray:
        out = np.empty(size, np.uint8)
        left = memoryview(out)
        while left:
            got = self.process.stdout.readinto(left)
            if not got:
                code = self.process.wait()
                said = self.process.stderr.read().decode(errors="replace")
                self.end()
                raise SimulatorError(f"the compiled model's process ended with {code}: {said[-500:]}")
            left = left[got:]
        return out


def stop(process: subprocess.Popen, owner: int) -> None:
    """Kill it, if it is this process's own; a fork only closes its ends."""
    if owner == os.getpid():
        process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            pipe.close()
    if owner == os.getpid():
        process.wait()


def keep(resident: Resident) -> None:
    """It is the last used; of too many the first that is idle ends."""
    with _list:
        _running[:] = [r for r in _running if r.usable and r is not resident] + [resident]
        for other in _running[: max(0, len(_running) - KEPT)]:
            if other.busy.acquire(blocking=False):
                other.end()
                other.busy.release()


def stop_all() -> None:
    """End all programs that this process has running; they start again when they are called."""
    with _list:
        ending, _running[:] = list(_running), []
    for resident in ending:
        with resident.busy:
            resident.end()


def forked() -> None:
    """In the child of a fork, whose threads that held locks are gone."""
    global _list
    _list = threading.Lock()
    _running.clear()


os.register_at_fork(after_in_child=forked)
