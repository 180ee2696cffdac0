"""A shard: some finished rows in one immutable file that the stock safetensors library reads.

    8 bytes: header length | JSON header | the tensors' bytes

Tensors: `index`, `status`, `seconds`, `crc` (a CRC-32 a row over index, status, theta and
outputs), `theta/NAME`, `x/NAME`; a ragged output is `x/NAME#values` with `x/NAME#lengths`.
The metadata carry the store's key, the round, the attempt, failure messages by index, a CRC of the
columns that every table reads (index, status, theta), and one of the header itself.  So truncation,
a flipped bit in the data (costs one row) and one in the header (costs the shard) are all found.
The largest item sizes come first, so that every tensor is
aligned and can be read in place from a memory map.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.data import Ragged
from inferkit.errors import StoreError

FORMAT = "inferkit-shard-1"

STATUS = ("ok", "nonfinite", "exception", "timeout", "memory", "crash", "invalid")
"""What became of a simulation; a row's status is an index into this list."""
OK = 0

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}
_CODES = {np.dtype(v): k for k, v in _DTYPES.items()}


@dataclass
class Rows:
    """Finished simulations of one round, in memory."""

    round: int
    index: np.ndarray
    status: np.ndarray
    seconds: np.ndarray
    theta: dict[str, np.ndarray]
    x: dict[str, Any]
    messages: dict[int, str] = field(default_factory=dict)
    attempt: int = 0

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray) -> Rows:
        kept = set(self.index[rows].tolist()) if self.messages else set()
        return Rows(
            self.round, self.index[rows], self.status[rows], self.seconds[rows],
            {k: v[rows] for k, v in self.theta.items()}, {k: v[rows] for k, v in self.x.items()},
            {i: m for i, m in self.messages.items() if i in kept}, self.attempt,
        )


BLOCK = 8 << 20  # bytes that are checksummed at once


def storable(array: np.ndarray) -> np.ndarray:
    """The array contiguous, little-endian, of a type that the format knows."""
    array = np.asarray(array)
    if array.dtype.kind == "c":
        raise StoreError(f"complex arrays ({array.dtype}) are not stored",
                         fix="return real and imaginary parts as two outputs")
    little = array.dtype.newbyteorder("<")
    if np.dtype(little) not in _CODES:
        raise StoreError(f"arrays of type {array.dtype} are not stored",
                         allowed="floats, integers and booleans")
    return np.asarray(array, dtype=little, order="C")


def row_crcs(rows: Rows) -> np.ndarray:
    """One CRC-32 a row, over its index, status, parameters and outputs."""
    n = len(rows)
    parts = [rows.index.astype("<i8"), rows.status.astype("u1")]
    parts += [rows.theta[k] for k in sorted(rows.theta)]
    parts += [rows.x[k] for k in sorted(rows.x) if not isinstance(rows.x[k], Ragged)]
    flat = [np.ascontiguousarray(p).reshape(n, -1).view(np.uint8) for p in parts] if n else []
    step = max(1, BLOCK // max(1, sum(p.shape[1] for p in flat)))
    crc = np.empty(n, np.uint32)
    for a in range(0, n, step):  # a part at a time: shards may be large
        some = np.concatenate([p[a : a + step] for p in flat], axis=1)
        crc[a : a + step] = np.fromiter(map(zlib.crc32, some), np.uint32, len(some))
    for name in sorted(rows.x):
        if isinstance(value := rows.x[name], Ragged):
            crc = np.fromiter(
                (zlib.crc32(r.tobytes(), zlib.crc32(int(m).to_bytes(8, "little"), int(c)))
                 for r, m, c in zip(value, value.lengths, crc)), np.uint32, n)
    return crc


def encode(rows: Rows, key: str) -> list[bytes | memoryview]:
    """The shard's file content, in pieces to be written one after the other."""
    tensors: dict[str, np.ndarray] = {
        "index": rows.index.astype("<i8"), "status": rows.status.astype("u1"),
        "seconds": rows.seconds.astype("<f4"), "crc": row_crcs(rows),
    }
    for name, value in rows.theta.items():
        tensors[f"theta/{name}"] = value
    for name, value in rows.x.items():
        if isinstance(value, Ragged):
            tensors[f"x/{name}#values"] = storable(value.values)
            tensors[f"x/{name}#lengths"] = value.lengths
        else:
            tensors[f"x/{name}"] = value
    tensors = {k: storable(v) for k, v in tensors.items()}
    order = sorted(tensors, key=lambda k: (-tensors[k].itemsize, k))
    header: dict[str, Any] = {}
    at = 0
    for name in order:
        t = tensors[name]
        header[name] = {"dtype": _CODES[t.dtype], "shape": list(t.shape),
                        "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    meta = {
        "format": FORMAT, "key": key, "round": str(rows.round), "attempt": str(rows.attempt),
        "messages": json.dumps({str(i): m for i, m in sorted(rows.messages.items())}),
    }
    meta["columns_crc"] = str(_columns_crc(tensors))
    meta["header_crc"] = str(_header_crc(header, meta))
    text = json.dumps({"__metadata__": meta, **header}).encode()
    text += b" " * (-len(text) % 8)
    pieces: list[bytes | memoryview] = [len(text).to_bytes(8, "little") + text]
    return pieces + [tensors[k].reshape(-1).view(np.uint8).data for k in order if tensors[k].nbytes]


def _header_crc(header: dict, meta: dict) -> int:
    told = {k: v for k, v in meta.items() if k != "header_crc"}
    return zlib.crc32(json.dumps([header, told], sort_keys=True).encode())


def _columns_crc(tensors: Mapping[str, np.ndarray]) -> int:
    """Over what is read whole whenever a table is made: addresses, statuses, parameters."""
    crc = 0
    for name in sorted(n for n in tensors if n in ("index", "status") or n.startswith("theta/")):
        crc = zlib.crc32(np.ascontiguousarray(tensors[name]).tobytes(), crc)
    return crc


class Maps:
    """Memory maps of files, the last used ones kept: each holds a file descriptor."""

    def __init__(self):
        self._kept: OrderedDict[Path, mmap.mmap] = OrderedDict()

    @cached_property
    def most(self) -> int:
        """A quarter of the descriptors that a process may have here."""
        try:
            from resource import RLIMIT_NOFILE, getrlimit
        except ImportError:  # Windows
            return 256
        return min(max(16, getrlimit(RLIMIT_NOFILE)[0] // 4), 256)

    def get(self, path: Path) -> mmap.mmap:
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        with path.open("rb") as f:
            made = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self._kept[path] = made
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)  # closed with the last array that looks into it
        return made

    def release(self, path: Path) -> None:
        """Give the pages that were read back to the system; they are read again when touched."""
        if path in self._kept and hasattr(mmap, "MADV_DONTNEED"):
            self._kept[path].madvise(mmap.MADV_DONTNEED)


MAPS = Maps()


class Shard:
    """A shard file, memory-mapped: arrays are views, read when they are touched.

    A view holds the file's descriptor: whoever looks into many shards copies.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._parse()
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as cause:
            raise StoreError(f"{path.name} is damaged: {cause}") from cause

    def _content(self) -> Any:
        return MAPS.get(self.path)

    def _parse(self) -> None:
        content = self._content()
        self.nbytes = len(content)
        length = int.from_bytes(content[:8], "little")
        if length > self.nbytes - 8:
            raise ValueError("it is cut short")
        header = json.loads(content[8 : 8 + length])
        meta = header.pop("__metadata__")
        if meta["format"] != FORMAT:
            raise ValueError(f"unknown format {meta['format']!r}")
        if int(meta["header_crc"]) != _header_crc(header, meta):
            raise ValueError("its header does not match its checksum")
        if 8 + length + max(h["data_offsets"][1] for h in header.values()) != self.nbytes:
            raise ValueError("it is cut short")
        self.key, self.round = meta["key"], int(meta["round"])
        self.attempt = int(meta["attempt"])
        self.messages = {int(k): v for k, v in json.loads(meta["messages"]).items()}
        self._header, self._start = header, 8 + length
        self.index = self.tensor("index").copy()
        self.status = self.tensor("status").copy()
        self._columns_crc = meta.get("columns_crc")

    @cached_property
    def sound(self) -> bool:
        """Whether addresses, statuses and parameters are what was written (outputs: `damaged`)."""
        columns = {n: self.tensor(n) for n in self._header if n in ("index", "status")
                   or n.startswith("theta/")}
        return self._columns_crc is None or int(self._columns_crc) == _columns_crc(columns)

    def __len__(self) -> int:
        return len(self.index)

    def tensor(self, name: str) -> np.ndarray:
        h = self._header[name]
        dtype = np.dtype(_DTYPES[h["dtype"]])
        start = self._start + h["data_offsets"][0]
        count = (h["data_offsets"][1] - h["data_offsets"][0]) // dtype.itemsize
        return np.frombuffer(self._content(), dtype, count, start).reshape(h["shape"])

    def _names(self, prefix: str) -> list[str]:
        found = (k.removeprefix(prefix) for k in self._header if k.startswith(prefix))
        return sorted({k.removesuffix("#values").removesuffix("#lengths") for k in found})

    @property
    def outputs(self) -> list[str]:
        return self._names("x/")

    @cached_property
    def signature(self) -> tuple:
        """(name, row shape or None where ragged, type) of each output; empty for failures alone."""
        told = []
        for name in self.outputs:
            ragged = f"x/{name}#values" in self._header
            h = self._header[f"x/{name}#values" if ragged else f"x/{name}"]
            told.append((name, None if ragged else tuple(h["shape"][1:]), _DTYPES[h["dtype"]]))
        return tuple(told)

    def release(self) -> None:
        MAPS.release(self.path)

    def output(self, name: str) -> Any:
        if f"x/{name}#values" in self._header:
            lengths = self.tensor(f"x/{name}#lengths")
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            return Ragged(self.tensor(f"x/{name}#values"), offsets)
        return self.tensor(f"x/{name}")

    def rows(self) -> Rows:
        return Rows(
            self.round, self.index, self.status, self.tensor("seconds"),
            {k: self.tensor(f"theta/{k}") for k in self._names("theta/")},
            {k: self.output(k) for k in self.outputs}, self.messages, self.attempt,
        )

    @cached_property
    def damaged(self) -> np.ndarray:
        """True for each row whose bytes no longer match its CRC; reads the whole shard, once."""
        try:
            return row_crcs(self.rows()) != self.tensor("crc")
        except (ValueError, IndexError, OverflowError):  # flipped lengths of a ragged output
            return np.ones(len(self), bool)


class SentShard(Shard):
    """A shard's bytes, which are in no file (yet): what a receipt brings along."""

    def __init__(self, name: str, data: bytes):
        self._data = data
        super().__init__(Path(name))

    def _content(self) -> bytes:
        return self._data
