"""Calls of one function at many points, each an isolated job on any executor.

It is a run of simulations whose rows are calls: a point (a dict of plain values) goes in, its result
comes out as JSON.  So it has what those have: crash isolation, a timeout, failures as data, and a
store that knows what is finished.  A point's row is addressed by the hash of the point, so the
points may change, and none that is finished is run again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.data import Job, Ragged
from inferkit.errors import ConfigError
from inferkit.plugins import SimulatorSpec, component, schema
from inferkit.progress import Progress, Reporter, duration
from inferkit.simulate.driver import Driver
from inferkit.store import STATUS, Simulations, Store

Point = dict[str, Any]


def run(what: Callable, points: Mapping[int, Point], *, path: Path, executor: Any, identity: dict,
        timeout: float | None = None, again: bool = False, reporter: Reporter | None = None,
        noun: str = "points") -> list[dict]:
    """Call `what(**point, path=its own folder)` at every point (see `numbered`) that has no result.

    Each row of the answer is the point with status, message, seconds, path and what was returned.
    `identity` says what `what` is: a folder of other calls is refused.  again: failed ones rerun.
    """
    spec = SimulatorSpec(name=noun, summary="a call a row", vectorised=False,
                         target="inferkit.simulate.points:Calls")
    function = component.own_simulator(what, vectorised=False).reference()
    if "here" in function and getattr(executor.config, "workers", None) != 0:
        raise ConfigError(f"the function cannot be sent to worker processes: {function['why']}",
                          fix='executor=ik.executor("local", workers=0) runs it in this process')
    calls = Calls(dict(points), str(path.resolve()), function)
    store = Store.create(path, identity)
    job = Job(component.Own(spec, thing=calls).reference(), 0, store.key, timeout,
              str(path.resolve()))
    with store.writing(needed=False):
        if runs := _rounds(store, points, again):
            with store.writing():
                _run(store, spec, executor.build(), job, runs, reporter or Reporter(quiet=True))
    return _rows(store, points)


class Calls:
    """A simulator whose rows are calls: a point's number in, its result (JSON) out."""

    parameters = outputs = None

    def __init__(self, points: dict[int, Point], root: str, function: dict):
        self.points, self.root, self.function = points, root, function

    def simulate(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, Ragged]:
        told = [json.dumps(schema.plain(self._one(int(i)))).encode() for i in theta["point"]]
        return {"result": Ragged.from_rows([np.frombuffer(t, np.uint8) for t in told], np.uint8)}

    def _one(self, number: int) -> dict:
        point = self.points[number]
        path = Path(self.root) / folder(point)
        result = component.from_reference(self.function).build().function(**point, path=path)
        if result is None:
            return {}
        return dict(result) if isinstance(result, Mapping) else {"result": result}


def folder(point: Point) -> str:
    """The name of a point's own folder."""
    name = ",".join(f"{k}={v}" for k, v in point.items())
    clean = re.sub(r"[^\w.,=+-]+", "_", name)
    return clean if clean == name and len(name) < 100 else f"{clean[:80]}-{_number(point):x}"


def _number(point: Point) -> int:
    text = json.dumps(point, sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 2


def numbered(points: Iterable[Point], noun: str = "points") -> dict[int, Point]:
    """Points under the numbers that address them."""
    plain = [schema.plain(p) for p in points]
    try:
        return {_number(p): p for p in plain}
    except TypeError as cause:
        raise ConfigError(f"{noun}: a point holds what is no plain value: {cause}",
                          allowed="numbers, strings, lists, tables: make objects in the function",
                          ) from None


def _rounds(store: Store, points: Mapping[int, Point], again: bool) -> dict[int, np.ndarray]:
    """What must run, by round: new points in round 0, each further attempt in the next."""
    last = _last(store)
    due: dict[int, list[int]] = {}
    for number in points:
        if number not in last:
            due.setdefault(0, []).append(number)
        elif again and last[number][1] != "ok":
            due.setdefault(last[number][0] + 1, []).append(number)
    return {r: np.sort(np.array(numbers)) for r, numbers in due.items()}


def _last(store: Store) -> dict[int, tuple[int, str]]:
    table = Simulations(store)
    return {int(i): (int(r), STATUS[s])
            for r, i, s in zip(table.round, table.index, table.status)}  # rounds ascend


class _Driver(Driver):
    def _hopeless(self) -> None:
        """Failed calls are results too."""


def _run(store: Store, spec: Any, executor: Any, job: Job, runs: dict[int, np.ndarray],
         reporter: Reporter) -> None:
    executor.open(job)
    if note := getattr(executor, "note", ""):
        reporter.say(note)
    try:
        for round, todo in runs.items():
            progress = Progress(round, len(todo), 0)
            _Driver(store, spec, executor, lambda index: {"point": index}, round, todo, progress,
                    lambda p: reporter.event(spec.name, {"done": p.done, "of": p.total,
                                                       "failed": p.failed})).run()
            reporter.say(f"{spec.name}: {progress.done} in {duration(progress.seconds)}, "
                         f"{progress.failed} failed")
    finally:
        executor.close()


def _rows(store: Store, points: Mapping[int, Point]) -> list[dict]:
    table = Simulations(store)
    latest = {int(i): k for k, i in enumerate(table.index)}
    rows = []
    seconds, messages = table.seconds, table.messages
    for number, point in points.items():
        k = latest.get(number)
        if k is None:
            continue
        row = {**point, "status": STATUS[table.status[k]], "message": messages[k],
               "seconds": float(seconds[k]), "path": str(store.path / folder(point))}
        if row["status"] == "ok":
            text = bytes(table.select(np.array([k])).x()["result"][0])
            row |= {key: v for key, v in json.loads(text).items() if key not in row}
        rows.append(row)
    return rows


