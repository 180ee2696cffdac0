"""Programs: built once for a blueprint and a processor, kept in a cache, run for any batch.

A blueprint says what to build (`compose`, `begin`), and is pickled to the building process.  Two
processes that want the same program wait for one another, and then share it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferkit.errors import SimulatorError
from inferkit_brian2.cache import cache_folder, digest, locked, prune
from inferkit_brian2.resident import Program

BUILD_SECONDS = 600


@dataclass
class Composed:
    """What a blueprint builds: the network, the names of variables to set, those to read back."""

    network: Any
    duration: Any
    arguments: dict[str, Any]  # parameter -> the Brian2 variable that it sets
    results: dict[str, Any]  # key -> Brian2 variable
    parts: Any = None


def program(blueprint: Any) -> Program:
    """The blueprint's program, built if no process has built it before."""
    folder = cache_folder() / digest(blueprint.identity())
    while True:
        if not (folder / "program.json").exists():
            with locked(folder):
                if not (folder / "program.json").exists():
                    build(blueprint, folder)
            with contextlib.suppress(OSError):  # others may prune as well
                prune(folder.parent)
        try:
            return Program(folder)
        except FileNotFoundError:  # deleted in between
            continue


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
