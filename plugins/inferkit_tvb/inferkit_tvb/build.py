"""C into a shared library: compiled at first use, kept in a cache folder, loaded by ctypes.

The folder is $INFERKIT_CACHE, or ~/.cache/inferkit; a library's name is the digest of its source, the
flags, the compiler and the processor's abilities, so that machines sharing a home keep their own.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from inferkit_tvb.engines import CannotRun
from inferkit_tvb.packing import cache_folder

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-fwrapv", "-fno-math-errno",
         "-fno-trapping-math", "-ffp-contract=fast", "-w")


@lru_cache(1)
def compiler() -> tuple[tuple[str, ...], str]:
    """The compiler's command ($CC may hold words of its own, "ccache gcc"), and what identifies it."""
    command = shlex.split(os.environ.get("CC") or "gcc")
    path = shutil.which(command[0])
    if path is None:
        raise CannotRun(f"there is no C compiler ({command[0]}); install gcc, or set CC")
    command[0] = path
    return tuple(command), call(*command, "--version").partition("\n")[0]


def call(*command: str) -> str:
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as cause:
        raise CannotRun(f"the C compiler {command[0]} cannot be started: {cause}") from cause
    if told.returncode:
        words = (told.stderr.strip() or told.stdout.strip() or "it said nothing")[:2000]
        raise CannotRun(f"the C compiler {command[0]} failed (exit status {told.returncode}): {words}")
    return told.stdout


@lru_cache(1)
def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


def library(source: str, defines: tuple[str, ...] = ()) -> ctypes.CDLL:
    command, version = compiler()
    flags = (*FLAGS, *(f"-D{d}" for d in defines))
    key = hashlib.blake2b("\0".join([source, *flags, *command[1:], version, processor()]).encode(),
                          digest_size=12)
    try:
        try:
            made = build(source, (*command, *flags), cache_folder() / f"{key.hexdigest()}.so")
        except (OSError, RuntimeError):  # a home that cannot be written to, or is full
            made = build(source, (*command, *flags),
                         Path(tempfile.mkdtemp(prefix="inferkit-tvb-")) / "kernel.so")
        return ctypes.CDLL(str(made))
    except OSError as cause:
        raise CannotRun(f"its library cannot be made or loaded: {cause}; INFERKIT_CACHE may name a "
                        "folder that can be written to and may hold programs") from cause


def build(source: str, command: tuple[str, ...], made: Path) -> Path:
    if made.exists():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as work:
        file, out = Path(work) / "kernel.c", Path(work) / "kernel.so"
        file.write_text(source)
        call(*command, str(file), "-o", str(out), "-lm")
        return out.replace(made)  # whole, or not there
