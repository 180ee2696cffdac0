"""The folder of compiled programs: where it is, what a program's name depends on, what is kept.

The name is a digest of the blueprint's identity with the versions of Brian2, of the compiler, of this
plugin's own code and with the processor's abilities (`-march=native`).  Beside each program lies a
lock: whoever builds or deletes it has it to itself, whoever may run it shares it.  Programs that
nobody has used for a while are deleted when another is built.
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
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from inferkit.errors import SimulatorError

KEEP_DAYS = 60
KEEP_BYTES = 2 << 30
SCRATCH_DAYS = 1
DAY = 86400.0


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
    for file in sorted(f for f in own.iterdir() if f.suffix in (".py", ".h", ".cpp")):
        h.update(file.read_bytes())
    h.update(
        json.dumps(
            [identity, version("brian2"), compiler(), machine(), platform.machine()],
            sort_keys=True,
            default=repr,
        ).encode()
    )
    return h.hexdigest()


# -- locks -----------------------------------------------------------------------------------------


def lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The program to oneself; waits for who builds it."""
    with taken(folder, fcntl.LOCK_EX):
        yield


def held(folder: Path) -> TextIO:
    """A share in the program for as long as the file that is returned is open; it counts as a use."""
    file = taken(folder, fcntl.LOCK_SH)
    with contextlib.suppress(OSError):  # somebody else's cache
        os.utime(folder / "program.json")
    return file


def taken(folder: Path, how: int) -> TextIO:
    """The lock's file, locked.  Who deletes a program deletes its lock: then there is a new one."""
    while True:
        file = lock_of(folder).open("a")
        try:
            fcntl.flock(file, how)
            if os.fstat(file.fileno()).st_ino == lock_of(folder).stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


# -- pruning ---------------------------------------------------------------------------------------


def prune(base: Path, now: float | None = None) -> list[str]:
    """Delete what has not been used for KEEP_DAYS, then the longest unused beyond KEEP_BYTES.

    A program that a process may run, or that is being built, stays.
    """
    now = time.time() if now is None else now
    for leftover in base.glob("*-*/"):  # of builds that were killed
        if now - used(leftover) > SCRATCH_DAYS * DAY:
            shutil.rmtree(leftover, ignore_errors=True)
    programs = sorted(
        (f for f in base.glob("*/") if "-" not in f.name), key=lambda f: used(f), reverse=True
    )
    gone, total = [], 0
    for folder in programs:  # the last used first
        total += sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        old = now - used(folder) > KEEP_DAYS * DAY
        if (old or total > KEEP_BYTES) and deleted(folder):
            gone.append(folder.name)
    return gone


def used(folder: Path) -> float:
    told = folder / "program.json"
    return (told if told.exists() else folder).stat().st_mtime


def deleted(folder: Path) -> bool:
    try:
        file = taken(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with file:
        shutil.rmtree(folder, ignore_errors=True)
        lock_of(folder).unlink(missing_ok=True)
    return True
