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
import re
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import DiskFullError, StoreError
from inferkit.store.files import NO_SPACE, lock, sweep_temporary, write_atomic
from inferkit.store.shard import Rows, Shard, encode

FORMAT = 1
NAME = re.compile(r"r(\d{4})-(\d{12})-(\d{6})-")
"""What a shard's name says: round, first row, how many."""


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
        self._writing = False

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
        user = os.getuid() if hasattr(os, "getuid") else "me"
        return Path(tempfile.gettempdir()) / f"inferkit-spill-{user}-{self.key}"

    def _own_spill(self) -> bool:
        """Whether the spill is a folder that this user made and nobody else can write into."""
        try:
            told = self.spill.lstat()
        except FileNotFoundError:
            return False
        private = not hasattr(os, "getuid") or (
            told.st_uid == os.getuid() and not told.st_mode & 0o077)
        if not stat.S_ISDIR(told.st_mode) or not private:
            raise StoreError(f"{self.spill} is not a private folder of yours: somebody else may have "
                             "put it there", fix="look at it, and remove it if it is not yours")
        return True

    def _spill(self, name: str, pieces: list) -> None:
        try:
            if not self._own_spill():
                self.spill.mkdir(mode=0o700)
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
        if not self._own_spill():
            return 0
        names = [p for p in self.spill.iterdir()
                 if p.suffix == ".safetensors" and stat.S_ISREG(p.lstat().st_mode)]
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
        there = set(names)
        self._open = {n: s for n, s in self._open.items() if n in there}
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
            if (told := NAME.match(name)) and told.groups() != (
                    f"{shard.round:04d}", f"{int(shard.index.min()):012d}", f"{len(shard):06d}"):
                self.broken[name] = f"{name} holds other rows than its name says"
                continue
            if shard.key != self.key:
                self.broken[name] = f"{name} belongs to another study"
                continue
            self._open[name] = shard
        return list(self._open.values())

    def refuse_damage(self) -> None:
        """Damage is told to whoever meets it: rows missing in silence would bias what is learned."""
        faults = [s.path.name for s in self.shards() if not s.sound] + list(self.broken.values())
        if faults:
            raise StoreError(
                f"{len(faults)} files of stored simulations in {self.path} are damaged: "
                + ", ".join(faults[:3]) + (" …" if len(faults) > 3 else ""),
                fix=f"inferkit resume {self.path}   (keeps the sound rows, runs the rest again)")

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
        """Remove what writers that were killed left half-written."""
        for folder in (self.path, self.folder, self.path / "rounds"):
            sweep_temporary(folder)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the run: a second process that wants to simulate into it is told who does."""
        if self._writing:
            yield
            return
        with (self.path / "lock").open("a+") as f:
            lock(f, self.path)
            f.truncate(0)
            f.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(),
                                "since": time.strftime("%Y-%m-%d %H:%M:%S")}))
            f.flush()
            self._writing = True
            try:
                yield
            finally:
                self._writing = False
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
