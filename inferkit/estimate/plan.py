"""A round's parameters, written down before it runs.

They lie under the fit and the step that asked for them, so that a fit begun again finds its rounds and
repeats none; numbers are claimed exclusively, so that two processes never share a round.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from pathlib import Path

import numpy as np

from inferkit.errors import StoreError
from inferkit.store import UNREADABLE, Store, make_folder, write_atomic, writing_to


class Plan:
    """A round's parameters, written before any of its simulations runs."""

    def __init__(self, store: Store, tag: str):
        self.folder = store.path / "rounds"
        self.digest = hashlib.blake2b(tag.encode(), digest_size=8).hexdigest()
        self.store = store
        found = sorted(self.folder.glob(f"r*-{self.digest}.npy"))
        self.theta: np.ndarray | None = None
        if found:
            self.round = int(found[0].name[1:5])
            self.theta = _read_plan(found[0])

    def write(self, theta: np.ndarray) -> None:
        """Claim the next number that no other process has, and write the parameters down."""
        make_folder(self.folder)
        taken = {int(p.name[1:5]) for p in self.folder.glob("r*")} | set(self.store.rounds())
        self.round = max(taken | {0}) + 1
        held = io.BytesIO()
        np.save(held, theta)
        told = {"crc": zlib.crc32(held.getvalue()), "plan": self.digest}
        while True:
            try:
                with (writing_to(self.folder),
                      (self.folder / f"r{self.round:04d}.claim").open("x") as claim):
                    claim.write(json.dumps(told))
                break
            except FileExistsError:
                self.round += 1
        write_atomic(self.folder / f"r{self.round:04d}-{self.digest}.npy", [held.getvalue()])
        self.theta = theta


def _read_plan(file: Path) -> np.ndarray:
    """A round's parameters, if they are those that were written."""
    data, claim = file.read_bytes(), file.with_name(f"{file.name[:5]}.claim")
    try:
        if claim.exists() and json.loads(claim.read_text())["crc"] != zlib.crc32(data):
            raise ValueError("it does not match its checksum")
        return np.load(io.BytesIO(data), allow_pickle=False)
    except UNREADABLE as cause:
        raise StoreError(f"{file}, the parameters of a round, is damaged: {cause}",
                         fix=f"delete {file.name} and the shards {file.name[:5]}-*, then run again"
                         ) from cause
