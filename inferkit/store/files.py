"""Files that are there in full or not at all, and a run that one process writes at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import struct
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inferkit.errors import BusyError, DiskFullError, ReadOnlyError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, struct.error,
              zlib.error, zipfile.BadZipFile)
"""What numpy and zipfile raise at a damaged archive (RuntimeError: a flag that says encrypted, or
patched; MemoryError: a shape of billions)."""


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what the system says where nothing can be written into an error that says what to do."""
    try:
        yield
    except OSError as cause:
        if cause.errno in REFUSED:
            raise ReadOnlyError(
                f"cannot write {path}: {cause.strerror}", allowed="reading, which goes on working",
                fix="choose another path, copy the run to one (cp -r), or make this one writable "
                    "(chmod u+w)") from cause
        if cause.errno in NO_SPACE:
            raise DiskFullError(f"no space left to write {path}",
                                fix="free some space, then run again") from cause
        raise


@contextlib.contextmanager
def if_possible(what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Go on where something cannot be kept, and say so."""
    try:
        yield
    except (ReadOnlyError, DiskFullError) as cause:
        say(f"{what} not kept: {cause.what}")


def make_folder(path: Path) -> None:
    with writing_to(path):
        path.mkdir(parents=True, exist_ok=True)


def make_temporary(prefix: str) -> Path:
    """A new folder in the temporary one, for its owner alone."""
    try:
        return Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as cause:  # of no usable folder tempfile says that it is not found
        raise ReadOnlyError(f"no temporary folder can be made: {cause.strerror}",
                            fix="name one with space in it: export TMPDIR=/some/folder") from cause


@contextlib.contextmanager
def temporary_folder(prefix: str = "inferkit-") -> Iterator[Path]:
    """The same, until the end of the block."""
    path = make_temporary(prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_atomic(path: Path, pieces: list) -> None:
    """Write, sync, rename: at any instant the file is there in full or not at all."""
    with writing_to(path):
        _write_atomic(path, pieces)


def _write_atomic(path: Path, pieces: list) -> None:
    temporary = path.parent / f".tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as f:
            for piece in pieces:
                f.write(piece)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # the rename itself must reach the disk
        fd = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def sweep_temporary(folder: Path) -> None:
    """Remove half-written files whose writer, a process of this machine, is gone.

    No clock is asked: it may jump, and a live writer's file must stay.  What another machine left is
    another machine's to sweep.
    """
    for file in folder.glob(f".tmp-{socket.gethostname()}-*"):
        pid = file.name.split("-")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            with writing_to(folder):
                file.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def lock(f: Any, path: Path) -> None:
    """Take the run's lock, or say who holds it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(f.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        if cause.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return  # a file system without locks: the store itself needs none
        f.seek(0)
        text = f.read() or "{}"
        holder = json.loads(text) if text.startswith("{") else {}
        raise BusyError(
            f"{path} is being written by process {holder.get('pid', '?')} on "
            f"{holder.get('host', '?')} since {holder.get('since', '?')}",
            fix="wait for it, stop it, or give this study another path; reading is always possible",
        ) from None
