"""A private temporary folder for one executor, and those that killed processes left behind.

Each holds a file `alive` that its process keeps locked.  The kernel frees the lock when the process
ends, however it ends, so a folder of ours whose lock is free is nobody's, and the next executor of the
same user removes it.  (A process number would not do: containers that share a folder count their own.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from inferkit.errors import BusyError
from inferkit.store.files import lock, make_temporary

PREFIX = "inferkit-run-"


class Scratch:
    """The folder, until `cleanup`."""

    def __init__(self) -> None:
        self.path = make_temporary(PREFIX)
        self._alive = (self.path / "making").open("w")
        lock(self._alive, self.path)
        (self.path / "making").rename(self.path / "alive")  # locked from its first moment on
        if not free(self.path):  # or this file system has no locks that could tell
            sweep(self.path.parent)

    def cleanup(self) -> None:
        self._alive.close()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove this user's scratch folders whose process has ended."""
    for folder in _mine(parent):
        if free(folder):
            shutil.rmtree(folder, ignore_errors=True)


def free(folder: Path) -> bool:
    """Whether a scratch folder's process has ended."""
    try:
        with (folder / "alive").open("r+") as alive:
            lock(alive, folder)
            return True
    except (OSError, BusyError):
        return False


def _mine(parent: Path) -> Iterator[Path]:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            told = folder.lstat()
            if stat.S_ISDIR(told.st_mode) and (os.name == "nt" or told.st_uid == os.getuid()):
                yield folder
