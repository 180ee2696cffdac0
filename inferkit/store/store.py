"""The store of a run: a folder of shards that is the whole truth about its simulations.

There is no manifest and no lock in the data's way: a shard is written under a temporary name,
synced, renamed, and never changed; any number of processes may write.  Which rows exist is read
off the shards.  A row is addressed by (round, index); duplicates are harmless, because content is
a function of the address (a later attempt wins).  The store's key is a hash of what that function
is made of: simulator, version, config, code; prior; seed.  How many rows there are is not in it,
so a run can grow.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import DiskFullError, StoreError
from inferkit.store.files import NO_SPACE, lock, write_atomic
from inferkit.store.shard import Rows, Shard, encode

FORMAT = 1


def key_of(identity: dict) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Store:
    """The shards under `path`, which belong to the study that `identity` describes."""

    def __init__(self, path: Path, identity: dict):
        self.path, self.identity, self.key = Path(path), identity, key_of(identity)
        self.folder = self.path / "shards"
        self.broken: dict[str, str] = {}  # file name -> what is wrong with it
        self._open: dict[str, Shard] = {}

    @classmethod
    def create(cls, path: Path, identity: dict) -> Store:
        """The store at `path`, made if there is none; another study's store is refused."""
        store = cls(path, identity)
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
            if (store.path / "store.json").exists():
                store._check_same(_read_identity(store.path))
            else:
                write_atomic(store.path / "store.json", [json.dumps(
                    {"format": FORMAT, "key": store.key, "identity": identity}, indent=1).encode()])
        except PermissionError as cause:
            raise StoreError(f"cannot write in {store.path}: {cause.strerror}",
                             fix="choose another path, or chmod u+w it") from cause
        except OSError as cause:
            if cause.errno == errno.EROFS:
                raise StoreError(f"{store.path} is on a read-only file system",
                                 fix="choose another path") from cause
            if cause.errno in NO_SPACE:
                raise DiskFullError(f"no space left for {store.path}",
                                    fix="free some space, then run again") from cause
            if isinstance(cause, (FileExistsError, NotADirectoryError)):
                raise StoreError(f"{store.path} is a file, not a folder") from cause
            raise
        return store

    @classmethod
    def existing(cls, path: Path) -> Store:
        """The store at `path`, to be read."""
        return cls(path, _read_identity(Path(path)))

    def _check_same(self, other: dict) -> None:
        if key_of(other) == self.key:
            return
        changed = list(differences(other, self.identity))
        raise StoreError(
            f"{self.path} holds simulations of another study; since then changed:\n    "
            + "\n    ".join(changed[:12]),
            allowed="the same simulator, config, code, prior and seed as when it began",
            fix="undo the change, or give this study its own path; the old simulations stay",
        )

    # -- writing ---------------------------------------------------------------------------------

    def write(self, rows: Rows) -> str:
        """One atomic shard; returns its name.  Where the disk is full, the rows go to a spill."""
        name = (f"r{rows.round:04d}-{int(rows.index.min()):012d}-{len(rows):06d}"
                f"-{uuid.uuid4().hex[:8]}.safetensors")
        return self.write_encoded(name, encode(rows, self.key))

    def write_encoded(self, name: str, pieces: list) -> str:
        try:
            write_atomic(self.folder / name, pieces)
        except OSError as cause:
            if cause.errno not in NO_SPACE:
                raise
            self._spill(name, pieces)
        return name

    @property
    def spill(self) -> Path:
        return Path(tempfile.gettempdir()) / f"inferkit-spill-{self.key[:16]}"

    def _spill(self, name: str, pieces: list) -> None:
        try:
            self.spill.mkdir(exist_ok=True)
            write_atomic(self.spill / name, pieces)
        except OSError as cause:
            raise DiskFullError(
                f"the disk of {self.path} is full, and so is {self.spill.parent}: "
                "the newest chunk could not be kept",
                fix=f"free some space, then: inferkit resume {self.path}") from cause
        raise DiskFullError(
            f"the disk of {self.path} is full; the rows just finished are safe in {self.spill}",
            fix=f"free some space, then: inferkit resume {self.path}  (it takes them in)")

    def adopt_spilled(self) -> int:
        """Bring home the shards that an earlier process had to leave elsewhere."""
        if not self.spill.is_dir():
            return 0
        names = [p for p in self.spill.iterdir() if p.suffix == ".safetensors"]
        for file in names:
            write_atomic(self.folder / file.name, [file.read_bytes()])
            file.unlink()
        with contextlib.suppress(OSError):
            self.spill.rmdir()
        return len(names)

    # -- reading ---------------------------------------------------------------------------------

    def shards(self) -> list[Shard]:
        """Every sound shard; new ones are opened, vanished ones forgotten.  See `broken`."""
        names = sorted(p.name for p in self.folder.glob("*.safetensors"))
        self._open = {n: s for n, s in self._open.items() if n in set(names)}
        for name in names:
            if name in self._open or name in self.broken:
                continue
            try:
                shard = Shard(self.folder / name)
            except FileNotFoundError:  # merged by another process meanwhile
                continue
            except StoreError as cause:
                self.broken[name] = cause.what
                continue
            if shard.key != self.key:
                self.broken[name] = f"{name} belongs to another study"
                continue
            self._open[name] = shard
        return list(self._open.values())

    def present(self, round: int) -> np.ndarray:
        """The sorted indices of a round's rows that exist."""
        found = [s.index for s in self.shards() if s.round == round]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def rounds(self) -> list[int]:
        return sorted({s.round for s in self.shards()})

    # -- upkeep ----------------------------------------------------------------------------------

    def heal(self, up_to_bytes: float = float("inf")) -> int:
        """Set damaged shards aside, keep their sound rows; returns how many rows must run again.

        Broken headers are always found; flipped bits in the data only in shards read here, the
        newest first, up to `up_to_bytes`.
        """
        lost = 0
        self.shards()
        for name in list(self.broken):
            self._set_aside(name)
            lost += 1
        for shard in sorted(self.shards(), key=lambda s: -s.path.stat().st_mtime):
            up_to_bytes -= shard.nbytes
            if up_to_bytes < 0:
                break
            bad = shard.damaged
            if bad.any():
                if not bad.all():
                    self.write(shard.rows().take(np.flatnonzero(~bad)))
                self._set_aside(shard.path.name)
                lost += int(bad.sum())
        return lost

    def _set_aside(self, name: str) -> None:
        aside = self.path / "damaged"
        aside.mkdir(exist_ok=True)
        (self.folder / name).rename(aside / name)
        self.broken.pop(name, None)
        self._open.pop(name, None)

    def tidy(self) -> None:
        """Remove what writers that were killed left half-written, an hour ago or more."""
        for file in self.folder.glob(".tmp-*"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > 3600:
                    file.unlink()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the run: a second process that wants to simulate into it is told who does."""
        with (self.path / "lock").open("a+") as f:
            lock(f, self.path)
            f.truncate(0)
            f.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(),
                                "since": time.strftime("%Y-%m-%d %H:%M:%S")}))
            f.flush()
            try:
                yield
            finally:
                f.truncate(0)


def _read_identity(path: Path) -> dict:
    try:
        held = json.loads((path / "store.json").read_text())
        identity = held["identity"]
        if held["format"] != FORMAT or held["key"] != key_of(identity):
            raise ValueError("it does not match its key")
    except FileNotFoundError as cause:
        raise StoreError(f"{path} holds no run (there is no store.json in it)",
                         fix="inferkit run study.toml") from cause
    except (ValueError, KeyError, TypeError) as cause:
        raise StoreError(f"{path / 'store.json'} is damaged: {cause}",
                         fix="delete this one file and run again: the shards carry the key, "
                             "and are taken only if they belong to the study") from cause
    return identity


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """What differs between two plain structures, a line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            at = f"{where}.{key}" if where else key
            if key not in old:
                yield f"{at}: now {new[key]!r}, was not there"
            elif key not in new:
                yield f"{at}: was {old[key]!r}, now gone"
            else:
                yield from differences(old[key], new[key], at)
    elif old != new:
        yield f"{where}: was {old!r}, now {new!r}"
