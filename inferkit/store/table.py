"""Stored simulations as one table, in order of (round, index), read from the shards on demand.

Parameters and statuses are small and come whole; outputs come in batches, so a table may be larger
than memory.  Each shard's checksums are verified when its outputs are first touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from inferkit import shown
from inferkit.data import Ragged
from inferkit.errors import StoreError
from inferkit.store.shard import OK, STATUS, Rows, Shard
from inferkit.store.store import Store

PART_BYTES = 32 << 20


class Simulations:
    """The rows of one round (or of all), optionally only those with index in [start, stop)."""

    def __init__(self, store: Store, round: int | None = None, *, start: int = 0,
                 stop: int | None = None, shards: list[Shard] | None = None, sort: bool = True):
        self.store = store
        if shards is None:
            store.refuse_damage()
        self._shards = [s for s in (store.shards() if shards is None else shards)
                        if round is None or s.round == round]
        parts = [
            (np.full(len(s), s.round), s.index, np.full(len(s), -s.attempt), np.full(len(s), k),
             np.arange(len(s)), s.status) for k, s in enumerate(self._shards)
        ]
        columns = [np.concatenate([p[j] for p in parts]) if parts else np.empty(0, np.int64)
                   for j in range(6)]
        if sort:
            order = np.lexsort((columns[3], columns[2], columns[1], columns[0]))
            columns = [c[order] for c in columns]
        rounds, index, _, shard, position, status = columns
        keep = index >= start
        if stop is not None:
            keep &= index < stop
        if sort:  # of duplicates the latest attempt comes first
            keep[1:] &= (rounds[1:] != rounds[:-1]) | (index[1:] != index[:-1])
        self.round, self.index, self.status = rounds[keep], index[keep], status[keep]
        self._shard, self._position = shard[keep], position[keep]
        self.signature: tuple = ()
        self._settle_signature()

    def _settle_signature(self) -> None:
        """One kind of row is the study's: that of most rows.

        Rows of another kind (a shape that depends on the parameters) count as invalid.  Types of
        numbers that differ are no other kind: float32 beside float64 is float64.
        """
        kinds = [_shapes(s.signature) for s in self._shards]
        if not len(self) or not any(kinds):
            return
        rows = np.bincount(self._shard, weights=1.0 + (self.status == OK) * len(self),
                           minlength=len(kinds))
        votes: dict[tuple, float] = {}
        for kind, n in zip(kinds, rows):
            if kind:
                votes[kind] = votes.get(kind, 0.0) + n
        usual = max(sorted(votes, key=str), key=votes.__getitem__)
        types = [[d for *_, d in s.signature] for s, k in zip(self._shards, kinds) if k == usual]
        self.signature = tuple((name, shape, np.result_type(*each).str)
                               for (name, shape), each in zip(usual, zip(*types)))
        odd = np.array([bool(k) and k != usual for k in kinds])
        if odd.any():
            self.status = np.where(odd[self._shard], STATUS.index("invalid"), self.status)

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        told = ", ".join(f"{n:,} {k}" for k, n in self.counts.items() if n) or "none"
        lines = [f"  {name:<16} {'ragged' if shape is None else shape} {dtype}"
                 for name, (shape, dtype) in self.outputs.items()]
        return "\n".join([f"{len(self):,} simulations ({told})", *lines])

    def _repr_html_(self) -> str:
        rows = [(name, "ragged" if shape is None else str(shape), str(dtype))
                for name, (shape, dtype) in self.outputs.items()]
        counts = [(k, n) for k, n in self.counts.items() if n]
        return shown.titled(f"{len(self):,} simulations", shown.table(["status", "rows"], counts),
                            shown.table(["output", "shape of a row", "type"], rows))

    def select(self, rows: np.ndarray | slice) -> Simulations:
        """The table of some rows (a mask, positions or a slice), sharing the shards."""
        out = object.__new__(Simulations)
        out.store, out._shards = self.store, self._shards
        out.signature = self.signature
        for name in ("round", "index", "status", "_shard", "_position"):
            setattr(out, name, getattr(self, name)[rows])
        return out

    @property
    def ok(self) -> Simulations:
        return self.select(self.status == OK)

    @property
    def counts(self) -> dict[str, int]:
        """Rows by status."""
        return {name: int((self.status == i).sum()) for i, name in enumerate(STATUS)}

    @property
    def messages(self) -> list[str]:
        """The failure message of each row, empty where it did not fail."""
        out = [""] * len(self)
        for k in np.flatnonzero(self.status != OK):
            shard = self._shards[self._shard[k]]
            out[k] = shard.messages.get(int(self.index[k]), "") or self._odd(shard)
        return out

    def _odd(self, shard: Shard) -> str:
        """How a row's outputs differ from those of most rows."""
        usual, its = dict(_shapes(self.signature)), dict(_shapes(shard.signature))
        for name in usual.keys() | its.keys():
            mine, most = its.get(name, "none"), usual.get(name, "none")
            if mine != most:
                if isinstance(mine, tuple) and isinstance(most, tuple) and mine[1:] == most[1:]:
                    return (f"output {name!r} has length {mine[0]} where most rows have {most[0]}; if "
                            f"its length varies, say outputs=(ik.Output({name!r}, None),), or cut all "
                            "rows to one")
                return f"output {name!r} has {_told(mine)} where most rows have {_told(most)}"
        return ""

    @property
    def seconds(self) -> np.ndarray:
        return self._gather(lambda s: s.tensor("seconds"))

    @property
    def theta(self) -> dict[str, np.ndarray]:
        names = self._shards[0]._names("theta/") if self._shards else []
        return {n: self._gather(lambda s, n=n: s.tensor(f"theta/{n}")) for n in names}

    def _gather(self, read: Any) -> np.ndarray:
        if not len(self):
            return np.empty(0)
        first = read(self._shards[self._shard[0]])
        out = np.empty((len(self), *first.shape[1:]), first.dtype)
        for shard, rows, positions in self.by_shard():
            out[rows] = read(shard)[positions]
        return out

    @property
    def outputs(self) -> dict[str, tuple[tuple[int, ...] | None, np.dtype]]:
        """Each output's row shape (None where ragged) and type."""
        return {name: (shape, np.dtype(dtype)) for name, shape, dtype in self.signature}

    @property
    def part(self) -> int:
        """So many rows that their outputs take some tens of megabytes."""
        each = sum(np.prod(shape or (256,)) * dtype.itemsize for shape, dtype in self.outputs.values())
        return int(np.clip(PART_BYTES // max(each, 1), 8, 8192))

    def x(self) -> dict[str, Any]:
        """All outputs of these rows, in memory."""
        return self._outputs(np.arange(len(self)))

    def by_shard(self) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """(shard, these rows' places in the table, their places in the shard), shard by shard."""
        for k, rows in _groups(self._shard):
            yield self._shards[k], rows, self._position[rows]

    def batches(self, size: int = 8192) -> Iterator[Rows]:
        """Rows in order, `size` at a time, one round in each batch."""
        for round in np.unique(self.round):
            (mine,) = np.nonzero(self.round == round)
            theta = self.select(mine).theta
            seconds, messages = self.seconds, self.messages
            for a in range(0, len(mine), size):
                rows = mine[a : a + size]
                told = {int(self.index[i]): messages[i] for i in rows if messages[i]}
                yield Rows(
                    int(round), self.index[rows], self.status[rows], seconds[rows],
                    {k: v[a : a + size] for k, v in theta.items()}, self._outputs(rows), told,
                    max((self._shards[k].attempt for k in np.unique(self._shard[rows])), default=0),
                )

    def _outputs(self, rows: np.ndarray) -> dict[str, Any]:
        shards, positions = self._shard[rows], self._position[rows]
        used = list(_groups(shards))
        for k, _ in used:
            self._verify(k)
        out: dict[str, Any] = {}
        for name, (shape, dtype) in self.outputs.items():
            if shape is None:
                out[name] = self._ragged(name, dtype, used, positions)
                continue
            values = np.empty((len(rows), *shape), dtype)
            for k, mine in used:
                shard = self._shards[k]
                # Failures have no outputs, invalid rows none that fit.
                values[mine] = (shard.output(name)[positions[mine]]
                                if self._fits(shard) else missing(dtype))
                shard.release()
            out[name] = values
        return out

    def _fits(self, shard: Shard) -> bool:
        return _shapes(shard.signature) == _shapes(self.signature)

    def _ragged(self, name: str, dtype: Any, used: list, positions: np.ndarray) -> Ragged:
        found = [np.empty(0, dtype)] * len(positions)
        for k, mine in used:
            if self._fits(self._shards[k]):
                values = self._shards[k].output(name)
                for i in mine:
                    found[i] = np.array(values[int(positions[i])])
        return Ragged.from_rows(found, dtype)

    def _verify(self, k: int) -> None:
        bad = self._shards[k].damaged
        self._shards[k].release()
        if bad.any():
            raise StoreError(
                f"{int(bad.sum())} rows of {self._shards[k].path} are damaged "
                "(their checksums do not match)",
                fix=f"inferkit resume {self.store.path}   (keeps the sound rows, runs the rest again)")

    def digest(self) -> str:
        """SHA-256 over index, status, parameters and outputs: equal for equal simulations."""
        h = hashlib.sha256()
        for rows in self.batches(4096):
            h.update(rows.index.astype("<i8").tobytes() + rows.status.tobytes())
            for name in sorted(rows.theta):
                h.update(rows.theta[name].tobytes())
            for name in sorted(rows.x):
                value = rows.x[name]
                if isinstance(value, Ragged):
                    h.update(value.lengths.tobytes() + value.values.tobytes())
                else:
                    h.update(value.tobytes())
        return h.hexdigest()


def _groups(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(label, the places that have it), label by label, in one sort."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    for places in np.split(order, starts[1:]) if len(order) else ():
        yield int(labels[places[0]]), places


def _shapes(signature: tuple) -> tuple:
    """What must agree between rows of one kind: names and shapes, not the type of number."""
    return tuple((name, shape) for name, shape, _ in signature)


def _told(shape: Any) -> str:
    return ("rows of any length" if shape is None else "none" if shape == "none"
            else "one number" if shape == () else f"shape {shape}")


def missing(dtype: np.dtype) -> Any:
    """What stands in the outputs of a row that failed."""
    return np.nan if np.dtype(dtype).kind == "f" else 0
