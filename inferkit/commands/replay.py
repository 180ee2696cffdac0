"""`inferkit replay RUN:137`: run one stored row again and say whether it gives the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit.data import Chunk, Job, Ragged
from inferkit.errors import StoreError
from inferkit.simulate import run_chunk
from inferkit.store import STATUS, SentShard, Simulations
from inferkit.study import Study


@dataclass
class Replay:
    """A row as stored and as it ran now."""

    where: str
    theta: dict[str, Any]
    status: tuple[str, str]
    message: str
    differences: dict[str, str]

    @property
    def same(self) -> bool:
        return self.status[0] == self.status[1] and not self.differences

    def __str__(self) -> str:
        lines = [self.where, *(f"  {k} = {v}" for k, v in self.theta.items()),
                 f"  status: {self.status[0]} then, {self.status[1]} now"]
        if self.message:
            lines.append(f"  message: {self.message}")
        lines += [f"  {name}: {how}" for name, how in self.differences.items()]
        lines.append("the same, to the byte" if self.same else "NOT the same")
        return "\n".join(lines)


def run(study: Study, round: int, index: int) -> Replay:
    table = Simulations(study.store, round, start=index, stop=index + 1)
    if not len(table):
        there = study.store.present(round)
        rounds = ", ".join(map(str, study.store.rounds())) or "none yet"
        raise StoreError(
            f"{study.path} has no row {index} in round {round}",
            allowed=f"{there[0]} to {there[-1]}" if len(there) else f"rounds: {rounds}",
            fix=f"inferkit replay {study.path}:{there[-1]}" if len(there) and not round else None)
    told = next(table.batches())
    job = Job(study.simulator.reference(), study.seed, study.store.key, study.timeout)
    receipt = run_chunk(job, Chunk("replay", round, told.index, told.theta))
    if receipt.error:
        raise receipt.error
    again = SentShard(*receipt.payload[0]).rows()
    then, now = STATUS[int(told.status[0])], STATUS[int(again.status[0])]
    return Replay(
        f"{study.path}, round {round}, index {index}", {k: v[0] for k, v in told.theta.items()},
        (then, now), next(iter(again.messages.values()), ""), _differences(told.x, again.x),
    )


def _differences(then: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name in then.keys() & now.keys():
        a, b = (v[0] for v in (then[name], now[name]))
        if isinstance(then[name], Ragged) and len(a) != len(b):
            found[name] = f"{len(a)} values then, {len(b)} now"
        elif not np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"):
            gap = np.nanmax(np.abs(np.asarray(a, float) - np.asarray(b, float)))
            found[name] = f"differs by up to {gap:.3g}"
    return found
