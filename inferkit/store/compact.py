"""Merging small shards, so that a long run of short flushes does not leave thousands of files."""

from __future__ import annotations

from inferkit.store.files import writing_to
from inferkit.store.shard import Shard
from inferkit.store.store import Store
from inferkit.store.table import Simulations

SMALL, LARGE = 4 << 20, 32 << 20
"""Shards under SMALL bytes are merged, once there are many, into ones of about LARGE."""


def compact(store: Store, many: int = 64) -> int:
    """Merge small shards, once a round has `many` of them; returns how many were merged."""
    merged = 0
    alike: dict[tuple, list[Shard]] = {}  # only rows of one kind fit into one shard unchanged
    for shard in store.shards():
        if shard.nbytes < SMALL:
            alike.setdefault((shard.round, shard.attempt, shard.signature), []).append(shard)
    for (round, *_), small in alike.items():
        if len(small) < many or any(s.damaged.any() for s in small):
            continue
        table = Simulations(store, round, shards=small)
        size = max(1, int(LARGE / max(1, sum(s.nbytes for s in small)) * len(table)))
        for rows in table.batches(size):
            store.write(rows)
        with writing_to(store.folder):
            for shard in small:
                shard.path.unlink(missing_ok=True)
        merged += len(small)
    return merged
