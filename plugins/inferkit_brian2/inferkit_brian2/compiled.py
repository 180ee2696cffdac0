"""Programs: built once for a blueprint and a processor, kept in a cache, run for any batch.

A blueprint says what to build (`compose`, `begin`), and is pickled to the building process.  The
cache's key is its digest with the versions of Brian2, of the compiler, of this plugin's own code and
with the processor's abilities (`-march=native`); two processes that want the same program wait for
one another.  A run writes its parameters and seeds into a folder of its own and reads the results
there, so any number of processes may share a program.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import SimulatorError

BUILD_SECONDS = 600
SCRATCH = "inferkit-brian2-"


@dataclass
class Composed:
    """What a blueprint builds: the network, the names of variables to set, those to read back."""

    network: Any
    duration: Any
    arguments: dict[str, Any]  # parameter -> the Brian2 variable that it sets
    results: dict[str, Any]  # key -> Brian2 variable
    parts: Any = None


@cache
def compiler() -> str:
    """The C++ compiler's version, "" where there is none."""
    name = os.environ.get("CXX", "g++")
    if shutil.which(name) is None or shutil.which("make") is None:
        return ""
    try:
        return subprocess.run(
            [name, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return ""


@cache
def machine() -> str:
    """What `-march=native` depends on."""
    try:
        told = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        return "\n".join(line for line in told if line.startswith(("model name", "flags", "Features")))
    except OSError:
        return platform.processor() + platform.machine()


def cache_folder() -> Path:
    """INFERKIT_CACHE, or the user's cache, or a temporary folder where neither can be written."""
    told = os.environ.get("INFERKIT_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inferkit"
    for base in (Path(told) if told else home, Path(tempfile.gettempdir()) / f"inferkit-{os.getuid()}"):
        folder = base / "brian2"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    raise SimulatorError(
        "no folder for compiled programs can be written", fix="INFERKIT_CACHE=/some/folder"
    )


def digest(identity: Any) -> str:
    from importlib.metadata import version

    h = hashlib.blake2b(digest_size=10)
    own = Path(__file__).parent
    for file in sorted([*own.glob("*.py"), own / "rows.h"]):
        h.update(file.read_bytes())
    h.update(
        json.dumps(
            [identity, version("brian2"), compiler(), machine(), platform.machine()],
            sort_keys=True,
            default=repr,
        ).encode()
    )
    return h.hexdigest()


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def program(blueprint: Any) -> Program:
    """The blueprint's program, built if no process has built it before."""
    folder = cache_folder() / digest(blueprint.identity())
    if not (folder / "program.json").exists():
        with locked(folder.with_suffix(".lock")):
            if not (folder / "program.json").exists():
                build(blueprint, folder)
    return Program(folder)


def build(blueprint: Any, folder: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        (scratch / "blueprint.pkl").write_bytes(blueprint.pickled())
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "PYTHONHASHSEED": "0",
        }  # Brian2 orders some lines by the hash of names
        told = subprocess.run(
            [sys.executable, "-m", "inferkit_brian2.build", str(scratch)],
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        if told.returncode or not (scratch / "program.json").exists():
            raise SimulatorError(
                f"the model could not be compiled: {last_lines(told.stderr)}",
                fix='engine = "numpy" runs it without a compiler',
            )
        if folder.exists():  # a leftover without a program
            shutil.rmtree(folder)
        scratch.rename(folder)
    except subprocess.TimeoutExpired:
        raise SimulatorError(f"compiling took more than {BUILD_SECONDS} s") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def last_lines(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return "\n  ".join(lines[-6:]) or "it ended without a word"


def sweep(base: Path) -> None:
    """Remove what processes that were killed have left."""
    for folder in base.glob(f"{SCRATCH}*"):
        pid = folder.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Program:
    """A compiled program; `run` is one call of it."""

    folder: Path
    told: dict = field(init=False)

    def __post_init__(self):
        self.told = json.loads((self.folder / "program.json").read_text())
        self.block: int = self.told["block"]
        self._scratch: tempfile.TemporaryDirectory | None = None

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "told": self.told, "block": self.block, "_scratch": None}

    @property
    def scratch(self) -> Path:
        """This process's own folder for parameters and results."""
        if self._scratch is None:
            memory = Path("/dev/shm")
            room = (
                memory.is_dir()
                and os.access(memory, os.W_OK)
                and shutil.disk_usage(memory).free > 2 << 30
            )
            base = memory if room else Path(tempfile.gettempdir())
            sweep(base)
            self._scratch = tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-", dir=base)
            (Path(self._scratch.name) / "results").mkdir()
        return Path(self._scratch.name)

    def run(self, columns: Mapping[str, np.ndarray], seeds: np.ndarray, rows: int) -> None:
        """columns: variable's parameter -> values of the whole block; seeds: a block of them."""
        scratch, arguments = self.scratch, []
        for k, (name, values) in enumerate(columns.items()):
            file = scratch / f"{k}.in"
            to = self.told["arguments"][name]
            np.ascontiguousarray(values, dtype=to["dtype"]).tofile(file)
            arguments.append(f"{to['name']}={file}")
        np.ascontiguousarray(seeds, dtype=np.uint64).tofile(scratch / "seeds")
        environment = {
            **os.environ,
            "INFERKIT_ROWS": str(rows),
            "INFERKIT_SEEDS": str(scratch / "seeds"),
        }
        process = subprocess.Popen(
            [str(self.folder / "main"), "--results_dir", f"{scratch}/results/", *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            told, _ = process.communicate()
        finally:
            if process.poll() is None:  # a timeout of the row's, or Ctrl-C
                process.kill()
                process.wait()
        said = told.decode(errors="replace").strip()
        if process.returncode or "rror" in said:
            raise SimulatorError(f"the compiled model ended with {process.returncode}: {said[-500:]}")

    def read(self, key: str) -> np.ndarray:
        where = self.told["results"][key]
        return np.fromfile(self.scratch / "results" / where["file"], dtype=where["dtype"])
