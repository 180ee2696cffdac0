"""One job at the site: where it stands, and the shards it has published so far.

Shards are the truth, a job's status only a hint: a job that FAILED may have done most of its
rows, one that was SUCCESSFUL may lack some.  A shard counts once its size, its SHA-256, its rows'
checksums and its study's key are right; then it is in the store, while the job runs on.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from typing import Any

import numpy as np

from inferkit import errors
from inferkit.data import Receipt
from inferkit.errors import ExecutorError, InferkitError, StoreError
from inferkit.simulate.node import Held, from_ranges, manifest_name, read_manifest
from inferkit.store import Store
from inferkit_unicore import answers
from inferkit_unicore.config import UnicoreConfig
from inferkit_unicore.site import Corrupt, Gone, Site

ENDED = ("SUCCESSFUL", "FAILED")
FIELDS = ("status", "statusMessage", "exitCode", "progress")
NEVER_STARTED = 120.0
"""Seconds after which a foreign job that was never started is taken for abandoned."""
NOT_FOUND = ("126", "127")
ABSENT = 3
"""Looks in a row that find no job before it counts as gone."""
SETTLE = 3
"""Looks at an ended job's results before rows count as missing (slow file systems)."""


class Remote:
    """A job that was submitted here or found at the site."""

    def __init__(self, site: Site, store: Store, config: UnicoreConfig, chunk: str, round: int,
                 index: np.ndarray, url: str, *, attached: bool = False):
        self.site, self.store, self.config = site, store, config
        self.chunk, self.round, self.index, self.url = chunk, round, index, url
        self.attached = attached
        self.cancelled = False  # by this process
        self._lived = False  # it was seen before its end
        self.wanted = index
        self.status, self.message, self.exit_code = "UNDEFINED", "", None
        self.progress: str | None = None
        self.folder = ""
        self.workers, self._ranks = 0, config.nodes
        self._shards: set[str] = set()
        self._got: list[np.ndarray] = []
        self._ranks_ended: set[int] = set()
        self._error: dict | None = None
        self._began = self._cut = False
        self._cause = ""
        self._since = self._collected = time.monotonic()
        self._settling = self._absent = 0
        self._delay = config.poll_seconds
        self.due = time.monotonic() + (0 if attached else self._delay)

    def __repr__(self) -> str:
        return f"<job {self.url} {self.status}>"

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    # -- looking ---------------------------------------------------------------------------------

    def look(self) -> bool:
        """Ask for the status, one GET; whether anything changed."""
        before = self.status, self.progress
        told = self.site.job(self.url, *(FIELDS if self.folder else ()))
        if "_links" in told:
            self.folder = told["_links"]["workingDirectory"]["href"]
        self.status = self.site.clean(told.get("status", "UNDEFINED"))
        self.message = self.site.clean(told.get("statusMessage") or "")
        progress = told.get("progress")
        self.exit_code, self.progress = told.get("exitCode"), progress and self.site.clean(progress)
        self._lived |= not self.ended
        if self.status != before[0]:
            self._since = time.monotonic()
        return (self.status, self.progress) != before

    def poll(self) -> Receipt | None:
        """Look, take what is new, and say so; the last receipt is not `partial`."""
        try:
            changed = self.look()
        except Gone:  # a site that is just starting may not know its jobs yet
            self._absent += 1
            self.due = time.monotonic() + self.config.poll_seconds * self._absent
            if self._absent < ABSENT:
                return None
            return self._finish("the job is gone from the site (expired or deleted)")
        self._absent = 0
        now = time.monotonic()
        if changed:
            self._delay = self.config.poll_seconds
        else:
            self._delay = min(1.5 * self._delay, self.config.poll_max)
        self.due = now + self._delay * random.uniform(0.8, 1.2)
        if self.ended:
            return self._end()
        if self.status == "READY" and self.attached and now - self._since > NEVER_STARTED:
            self.site.delete(self.url)
            return self._finish("the job was never started")
        silent = self.progress is None and now - self._collected > self.config.collect_seconds
        if self.status in ("RUNNING", "STAGINGOUT") and (
                changed and self.progress is not None or silent):
            receipt = self._collect()
            return receipt if receipt.rows else None
        return None

    def _end(self) -> Receipt | None:
        receipt = self._collect()
        unsure = self._cut or self.status == "SUCCESSFUL" and not self._ranks_done()
        if self._missing() and unsure and self._settling < SETTLE and not self._error:
            self._settling += 1  # results may show up late on a network file system
            self.due = time.monotonic() + self.config.poll_seconds
            return receipt if receipt.rows else None
        why = f"{self.status}: {self.message or 'no message'}"
        if self.exit_code is not None:
            why += f" (exit code {self.exit_code})"
        return self._finish(why, receipt)

    def _ranks_done(self) -> bool:
        return len(self._ranks_ended) == self._ranks

    # -- taking ----------------------------------------------------------------------------------

    def _collect(self) -> Receipt:
        """Fetch and store the shards that are new."""
        self._collected = time.monotonic()
        receipt = Receipt(self.chunk, partial=True)
        self._cut = False
        rank = -1
        while (rank := rank + 1) < self._ranks:  # the first manifest says how many there are
            try:
                text = self.site.fetch(self.folder, manifest_name(rank))
            except Gone:
                continue
            lines, used = read_manifest(text)
            self._cut |= used < len(text)
            for told in lines:
                try:
                    self._take_line(rank, answers.line(told, self.index, self.config.nodes), receipt)
                except answers.Unsound as cause:
                    self._cause = f"{manifest_name(rank)} makes no sense: {self.site.clean(cause)}"
        return receipt

    def _take_line(self, rank: int, told: dict, receipt: Receipt) -> None:
        kind = told.get("kind")
        if kind == "begin":
            self._began = True
            self._ranks = max(self._ranks, told["ranks"])
            self.workers = told["workers"] * self._ranks
        elif kind == "error":
            self._error = told
        elif kind == "end":
            self._ranks_ended.add(rank)
            receipt.note = told.get("note", "") or receipt.note
        elif kind == "shard" and told["name"] not in self._shards:
            self._take_shard(told, receipt)

    def _take_shard(self, told: dict, receipt: Receipt) -> None:
        rows = from_ranges(told["rows"])
        if self.attached and np.isin(rows, self.store.present(self.round)).all():
            self._shards.add(told["name"])  # stored by an earlier process
            self._got.append(rows)
            return
        try:
            data = self._checked(told, rows)
        except Gone:
            self._cause = f"{told['name']} is not there"
            return
        except (Corrupt, StoreError) as cause:
            self._cause = str(cause)
            return
        name = self.store.write_encoded(told["name"].rpartition("/")[2], [data])
        self._shards.add(told["name"])
        self._got.append(rows)
        counts = Counter(receipt.counts)
        counts.update(told["counts"])
        receipt.counts = dict(counts)
        receipt.shards.append(name)
        receipt.rows += int(np.isin(rows, self.wanted).sum())
        receipt.seconds += float(told["seconds"])
        receipt.messages += [self.site.clean(m) for m in told["messages"]]
        receipt.nbytes += len(data)

    def _checked(self, told: dict, rows: np.ndarray) -> bytes:
        """A shard's bytes, if they are what they should be."""
        name = told["name"]
        if not np.isin(rows, self.index).all():
            raise StoreError(f"{name} holds rows that its job was not given")
        data = self.site.fetch(self.folder, name, told["size"], told["sha256"])
        shard = Held(name, data)
        if (shard.key != self.store.key or shard.round != self.round
                or not np.array_equal(shard.index, rows) or shard.damaged.any()):
            raise StoreError(f"{name} is not what its manifest says")
        return data

    def _missing(self) -> int:
        got = np.concatenate(self._got) if self._got else np.empty(0, np.int64)
        return len(np.setdiff1d(self.wanted, got))

    # -- ending ----------------------------------------------------------------------------------

    def _finish(self, why: str, receipt: Receipt | None = None) -> Receipt:
        receipt = receipt or Receipt(self.chunk)
        receipt.partial = False
        if not self._missing():
            return receipt
        aborted = self.status == "FAILED" and "abort" in self.message.lower()
        if self._error is not None:
            receipt.error = self._node_error()
        elif aborted and self._lived and not self.cancelled:
            receipt.error = ExecutorError(
                f"job {self.url} was aborted by somebody",
                fix=f"what it had published is stored; inferkit resume {self.store.path}")
        elif self.ended and not (self._began or self._cause or aborted):
            self._never_began(why, receipt)
        elif not self._got and not aborted:
            receipt.lost = self._loss(self._cause or why, self._tail("stderr"))
        return receipt

    def _node_error(self) -> InferkitError:
        told = self._error or {}
        kind = getattr(errors, str(told.get("type")), ExecutorError)
        if not (isinstance(kind, type) and issubclass(kind, InferkitError)):
            kind = ExecutorError
        fix = told.get("fix")
        return kind(f"on the node of {self.url}: {self.site.clean(told.get('what'))}",
                    allowed=told.get("allowed"),
                    fix=f"in the site's environment: {fix}" if fix else None)

    def _never_began(self, why: str, receipt: Receipt) -> None:
        """inferkit did not start: a broken environment is an error, a broken node a loss."""
        told = self._tail("stderr")
        broken = re.search(r"command not found|No module named|No such file|ModuleNotFoundError"
                           r"|Unable to locate a modulefile|came damaged", told)
        staging = "staging failed" in self.message.lower()
        if broken or str(self.exit_code) in NOT_FOUND or staging:
            receipt.error = ExecutorError(
                f"inferkit does not start on the node of {self.url}: {self.site.clean(why)}\n    "
                + "\n    ".join(self.site.clean(told).splitlines()[-6:] or ["(it said nothing)"]),
                allowed="an environment at the site with inferkit and the simulator's plugin",
                fix="inferkit-unicore clean --force RUN, then run again" if "came damaged" in told
                else "set modules, setup, python or container; "
                     "try it at the site: python3 -m inferkit.simulate.node")
        else:
            receipt.lost = self._loss(why, told)

    def _loss(self, why: str, stderr: str) -> str:
        tail = " | ".join(self.site.clean(stderr).splitlines()[-3:])
        return f"{self.url}: {self.site.clean(why)}" + (f": {tail}" if tail else "")

    def _tail(self, name: str) -> str:
        if not self.folder:
            return ""
        try:
            return self.site.fetch(self.folder, name).decode(errors="replace")[-2000:]
        except (Gone, Corrupt):
            return ""

    def summary(self) -> dict[str, Any]:
        return {"chunk": self.chunk, "url": self.url, "status": self.status,
                "rows": len(self.index), "progress": self.progress, "message": self.message}
