"""What grows with the number of simulations, and how fast each part is: numbers for docs/scaling.md.

    python benchmarks/scaling.py [largest exponent]        # 6: up to a million rows
    python benchmarks/scaling.py shards [100000]           # parts 5 and 6 alone

1  the client's memory while the simulations stream through Dask
2  cost from 10^2 rows on: local and Dask
3  how many chunks a second the Dask path carries, and what one costs the client
4  the store: shards a second, finding what is there, opening a finished run
5  so many shards of a single row each under `ulimit -n 256`: every stage's time, memory, descriptors
6  10,000 rows of 10 s each, by a clock that says so: how many files there are at most, and are left
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import numpy as np

import inferkit as ik
from inferkit.data import Chunk
from inferkit.simulate import PriorDraws, chunk, driver
from inferkit.store import Rows, Simulations, Store, compact, files


def rows_10us(theta, seeds):
    """About 10 µs and 400 bytes a row."""
    x = theta["a"]
    for _ in range(700):
        x = np.sin(x) + 0.1
    return {"x": np.repeat(x[:, None].astype(np.float32), 100, axis=1)}


def nothing(theta, seeds):
    return {"x": theta["a"]}


def memory():
    """This process's memory now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def study(executor, function=rows_10us):
    path = Path(tempfile.mkdtemp()) / "run"
    return ik.Study(ik.simulator(function, vectorised=True), path=path, quiet=True,
                    prior=ik.Prior({"a": ik.Uniform(0.0, 1.0)}), executor=executor)


def one_run(executor, n):
    """Seconds, the store's files and bytes, and the client's memory as rows were stored."""
    s = study(executor)
    seen, over = [], threading.Event()

    def show(progress):
        seen.append((progress.done, memory()))

    s.reporter, show.say = show, lambda text: None
    before = memory()
    started = time.perf_counter()
    s.simulate(n)
    took = time.perf_counter() - started
    over.set()
    files = list((s.path / "shards").iterdir())
    size = sum(f.stat().st_size for f in files)
    shutil.rmtree(s.path.parent)
    return took, len(files), size, before, seen


def growth(largest):
    print(f"{'executor':<8}{'rows':>9}{'s':>8}{'µs/row':>9}{'files':>7}{'MB':>8}"
          f"{'client MB: before':>19}{'at 10 %':>9}{'at most':>9}")
    for name, executor in (("local", ik.executor("local", workers=2)),
                           ("dask", ik.executor("dask", workers=1, threads=2, dashboard="off"))):
        for exponent in range(2, largest + 1):
            n = 10**exponent
            took, files, size, before, seen = one_run(executor, n)
            early = next((m for done, m in seen if done >= n / 10), before)
            print(f"{name:<8}{n:>9}{took:>8.2f}{took / n * 1e6:>9.1f}{files:>7}{size / 1e6:>8.1f}"
                  f"{before:>19.0f}{early:>9.0f}{max(m for _, m in seen):>9.0f}", flush=True)


def chunk_rate(seconds=10.0):
    """Chunks of one row that costs nothing."""
    s = study(ik.executor("dask", workers=1, threads=2, dashboard="off", window=32), nothing)
    runner = s.executor.build()
    runner.open(s.running.job())
    try:
        flying, done, k, cpu = 0, 0, 0, 0.0
        end = started = None
        while end is None or time.perf_counter() < end:
            while flying < 64:
                runner.submit(Chunk(f"c{k:08d}", 0, np.array([k]), {"a": np.zeros(1)}))
                k, flying = k + 1, flying + 1
            got = len(runner.wait(0.2))
            flying -= got
            if got and end is None:  # warm
                started, cpu = time.perf_counter(), time.process_time()
                end, done = started + seconds, 0
            done += got
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
    finally:
        runner.close()
        shutil.rmtree(s.path.parent)
    print(f"\nchunks through Dask: {done / took:.0f} a second with two threads; "
          f"{cpu / done * 1e3:.2f} ms of the client's and scheduler's CPU each", flush=True)


def store_rate(rows=1000, shards=1000):
    """Shards of 1000 rows of 400 bytes; then what a resumed client does with them."""
    path = Path(tempfile.mkdtemp())
    store = Store.create(path, {"bench": 1})
    x = np.zeros((rows, 100), np.float32)
    started = time.perf_counter()
    for k in range(shards):
        index = np.arange(k * rows, (k + 1) * rows)
        store.write(Rows(0, index, np.zeros(rows, np.uint8), np.zeros(rows, np.float32),
                         {"a": np.zeros(rows)}, {"x": x}, {}))
    wrote = time.perf_counter() - started
    started = time.perf_counter()
    present = Store.existing(path).present(0)
    found = time.perf_counter() - started
    started = time.perf_counter()
    assert len(Simulations(Store.existing(path), 0)) == len(present) == rows * shards
    opened = time.perf_counter() - started
    shutil.rmtree(path)
    print(f"store: {shards / wrote:.0f} shards of {rows} rows a second ({wrote / shards * 1e3:.1f} ms, "
          f"synced), {rows * shards * 432 / wrote / 1e6:.0f} MB/s; {rows * shards:,} rows in {shards} "
          f"files found in {found:.2f} s ({found / shards * 1e3:.2f} ms a file), opened in "
          f"{opened:.2f} s", flush=True)


def noisy(theta, rng):
    return theta["a"] + 0.1 * rng.standard_normal(2)


class Watched:
    """Prints each step's seconds, CPU seconds, and the process's peak memory and most descriptors."""

    def __init__(self):
        self.most = 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self):
        while True:
            self.most = max(self.most, len(list(Path("/proc/self/fd").iterdir())))
            time.sleep(0.01)

    def __call__(self, name, do):
        self.most, wall, cpu = 0, time.perf_counter(), time.process_time()
        out = do()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:<44}{wall:>8.1f} s{cpu:>8.1f} s CPU{peak:>7.0f} MB{self.most:>5} descriptors",
              flush=True)
        return out


def many_shards(n):
    """A run of n shards of one row; nothing is synced, which only writing them would feel."""
    files.os.fsync = lambda fd: None
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    step = Watched()
    path = Path(tempfile.mkdtemp())
    s = ik.Study(noisy, ik.Prior({"a": ik.Uniform(0.0, 1.0)}), path=path, quiet=True,
                 executor=ik.executor("local", workers=2), observed=np.array([0.4, 0.5]))
    draw = PriorDraws(s.prior, s.seed)

    def write():
        for first in range(0, n, 4096):
            index = np.arange(first, min(n, first + 4096))
            a = draw(index)["a"]
            x = a[:, None] + 0.1 * np.random.default_rng(first).standard_normal((len(a), 2))
            for k in range(len(index)):
                s.store.write(Rows(0, index[k:k + 1], np.zeros(1, np.uint8), np.ones(1, np.float32),
                                   {"a": a[k:k + 1]}, {"x": x[k:k + 1]}))

    step(f"{n:,} shards written", write)
    fresh = Store.existing(path)
    step("opened", fresh.shards)
    step("what is present", lambda: fresh.present(0))
    table = step("table, checksums of its columns", lambda: Simulations(fresh, 0))
    step("outputs read, checksums of all", table.x)
    step("batches", lambda: [len(b) for b in table.batches()])
    step("fit (abc-rejection)", s.fit)
    copy = path.with_name(path.name + "-copy")
    shutil.copytree(path, copy)
    step("compacted, nothing else", lambda: compact(Store.existing(copy)))
    shutil.rmtree(copy)
    step("gone on with: 2,000 rows more, compacted", lambda: s.simulate(n + 2000))
    step("fit", s.fit)
    step("check", s.check)
    step("report", s.report)
    print(f"files left: {len(list(s.store.folder.iterdir()))}", flush=True)
    shutil.rmtree(path)


def slow_simulator(n=10_000, seconds=10.0):
    """Rows that take so long by the clock of the code that runs them."""
    files.os.fsync = lambda fd: None
    ticks, most, written = itertools.count(0.0, seconds), [0], [0]
    chunk.time = types.SimpleNamespace(monotonic=lambda: next(ticks))

    def watch(store, receipt):
        written[0] += len(receipt.shards)
        most[0] = max(most[0], len(list(store.folder.iterdir())))

    driver.observe = watch
    s = study(ik.executor("local", workers=0), nothing)
    s.simulator = ik.simulator(noisy)
    told = s.simulate(n)
    left = list(s.store.folder.iterdir())
    print(f"{n:,} rows of {told.sim_seconds / n:.0f} s: {written[0]:,} shards written, {most[0]} there "
          f"at most, {len(left)} left ({sum(f.stat().st_size for f in left) / 1e6:.1f} MB)", flush=True)
    shutil.rmtree(s.path.parent)


if __name__ == "__main__":
    if sys.argv[1:2] == ["shards"]:
        many_shards(int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
        slow_simulator()
    else:
        growth(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
        chunk_rate()
        store_rate()
