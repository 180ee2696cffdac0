"""C into a shared library: compiled at first use, kept in a cache folder, loaded by ctypes.

The folder is $INFERKIT_CACHE, or ~/.cache/inferkit; a library's name is the digest of its source, the
flags, the compiler and the processor's abilities, so that machines sharing a home keep their own.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from inferkit_tvb.engines import CannotRun

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-fwrapv", "-fno-math-errno",
         "-fno-trapping-math", "-ffp-contract=fast", "-w")


@lru_cache(1)
def compiler() -> tuple[str, str]:
    """The compiler's path, and a line that identifies it."""
    path = shutil.which(os.environ.get("CC", "gcc"))
    if path is None:
        raise CannotRun("there is no C compiler (gcc); install one, or set CC")
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return path, told.stdout.partition("\n")[0]


@lru_cache(1)
def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


def cache_folder() -> Path:
    root = os.environ.get("INFERKIT_CACHE") or Path.home() / ".cache" / "inferkit"
    return Path(root) / "tvb"


def library(source: str, defines: tuple[str, ...] = ()) -> ctypes.CDLL:
    path, version = compiler()
    flags = (*FLAGS, *(f"-D{d}" for d in defines))
    key = hashlib.blake2b("\0".join([source, *flags, version, processor()]).encode(), digest_size=12)
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="inferkit-tvb-"))
    made = folder / f"{key.hexdigest()}.so"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            file, out = Path(work) / "kernel.c", Path(work) / "kernel.so"
            file.write_text(source)
            told = subprocess.run([path, *flags, str(file), "-o", str(out), "-lm"],
                                  capture_output=True, text=True, check=False)
            if told.returncode:
                raise CannotRun(f"{path} failed: {told.stderr.strip()[:2000]}")
            out.replace(made)  # whole, or not there
    return ctypes.CDLL(str(made))
