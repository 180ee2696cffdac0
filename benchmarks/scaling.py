"""What grows with the number of simulations, and how fast each part is: numbers for docs/scaling.md.

    python benchmarks/scaling.py [largest exponent]        # 6: up to a million rows

1  the client's memory while the simulations stream through Dask
2  cost from 10^2 rows on: local and Dask
3  how many chunks a second the Dask path carries, and what one costs the client
4  the store: shards a second, finding what is there, opening a finished run
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import inferkit as ik
from inferkit.data import Chunk
from inferkit.store import Rows, Simulations, Store


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


if __name__ == "__main__":
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    growth(largest)
    chunk_rate()
    store_rate()
