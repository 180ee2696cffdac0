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
import json
import os
import re
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from inferkit.errors import DiskFullError, ReadOnlyError, StoreError
from inferkit.store import belonging
from inferkit.store.belonging import key_of
from inferkit.store.files import lock, sweep_temporary, write_atomic, writing_to
from inferkit.store.shard import OK, Rows, Shard, encode

NAME = re.compile(r"r(\d{4})-(\d{12})-(\d{6})-")
"""What a shard's name says: round, first row, how many."""


class Store:
    """The shards under `path`, which belong to the study that `identity` describes."""

    def __init__(self, path: Path, identity: dict):
        self.path, self.identity, self.key = Path(path), identity, key_of(identity)
        self.folder = self.path / "shards"
        self.broken: dict[str, str] = {}  # file name -> what is wrong with it
        self._open: dict[str, Shard] = {}
        self.held = False  # whether this process is the one that may write

    @classmethod
    def create(cls, path: Path, identity: dict, *, code: str = "", accept_code: bool = False,
               say: Callable[[str], None] = lambda text: None) -> Store:
        """The store at `path`, made if there is none; another study's store is refused.

        code: the text of the user's own simulator (`code_text.code_of`), which the folder keeps.
        accept_code: rows that another version of it made are this study's.
        """
        store = cls(path, identity)
        try:
            with writing_to(store.path):
                store.folder.mkdir(parents=True, exist_ok=True)
                if (store.path / belonging.IDENTITY).exists():
                    store = store._settled(code, accept_code, say)
                else:
                    belonging.begin(store.path, identity, code)
        except (FileExistsError, NotADirectoryError) as cause:
            raise StoreError(f"{store.path} is a file, not a folder") from cause
        return store

    @classmethod
    def existing(cls, path: Path) -> Store:
        """The store at `path`, to be read."""
        return cls(path, belonging.read(Path(path)))

    def _settled(self, code: str, accept: bool, say: Callable[[str], None]) -> Store:
        """This store, under the identity that its folder has; see `belonging`."""
        if belonging.settle(self.path, self.identity, code, accept):
            return type(self)(self.path, belonging.read(self.path))
        held = type(self)(self.path, belonging.read(self.path))
        rows = sum(len(s) for s in held.shards())
        succeeded = sum(int((s.status == OK).sum()) for s in held.shards()) + len(held.broken)
        if not belonging.holds_nothing(self.path, rows, succeeded):
            raise belonging.refused(self.path, self.identity, code)
        with held.writing():
            aside = belonging.make_way(self.path)
            belonging.begin(self.path, self.identity, code)
        self.folder.mkdir()
        if rows:
            say(f"the study changed, and all of its {rows:,} stored simulations had failed: it begins "
                f"anew (they are in {aside})")
        return self

    # -- writing ---------------------------------------------------------------------------------

    def write(self, rows: Rows) -> str:
        """One atomic shard; returns its name.  Where the disk is full, the rows go to a spill."""
        name = (f"r{rows.round:04d}-{int(rows.index.min()):012d}-{len(rows):06d}"
                f"-{uuid.uuid4().hex[:8]}.safetensors")
        return self.write_encoded(name, encode(rows, self.key))

    def write_encoded(self, name: str, pieces: list) -> str:
        try:
            write_atomic(self.folder / name, pieces)
        except DiskFullError:
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
        except (OSError, ReadOnlyError, DiskFullError) as cause:
            raise DiskFullError(
                f"the disk of {self.path} is full, and the temporary folder takes nothing: "
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

    def present(self, round: int, attempt: int = 0) -> np.ndarray:
        """The sorted indices of a round's rows that exist, of this attempt or a later one."""
        found = [s.index for s in self.shards() if s.round == round and s.attempt >= attempt]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def attempt(self, round: int) -> int:
        """The latest attempt at a round's rows."""
        return max((s.attempt for s in self.shards() if s.round == round), default=0)

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

    def upkeep(self, verify_up_to: float, say: Callable[[str], None]) -> None:
        """What is due before a run goes on: tidy, take in what was spilled, heal."""
        self.tidy()
        if adopted := self.adopt_spilled():
            say(f"took in {adopted} shards that had found no space")
        if lost := self.heal(verify_up_to):
            say(f"{lost} damaged rows were set aside and run again")

    def _set_aside(self, name: str) -> None:
        aside = self.path / "damaged"
        with writing_to(aside):
            aside.mkdir(exist_ok=True)
            (self.folder / name).rename(aside / name)
        self.broken.pop(name, None)
        self._open.pop(name, None)

    def tidy(self) -> None:
        """Remove what writers that were killed left half-written."""
        for folder in (self.path, self.folder, self.path / "rounds"):
            sweep_temporary(folder)

    @contextlib.contextmanager
    def writing(self, needed: bool = True) -> Iterator[None]:
        """Hold the run: a second process that wants to simulate into it is told who does.

        needed=False: where nothing can be written, go on all the same, to read (see `held`).
        """
        if self.held:
            yield
            return
        try:
            f = self._locked()
        except (ReadOnlyError, DiskFullError):
            if needed:
                raise
            f = None
        if f is None:
            yield
            return
        self.held = True
        try:
            yield
        finally:
            self.held = False
            with contextlib.suppress(OSError), f:
                f.truncate(0)

    def _locked(self) -> IO[str]:
        """The run's lock file, locked, with who holds it."""
        with contextlib.ExitStack() as undone, writing_to(self.path):
            f = undone.enter_context((self.path / "lock").open("a+"))
            lock(f, self.path)
            f.truncate(0)
            f.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(),
                                "since": time.strftime("%Y-%m-%d %H:%M:%S")}))
            f.flush()
            undone.pop_all()
        return f
