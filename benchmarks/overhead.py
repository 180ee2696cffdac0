"""What inferkit adds to the simulations themselves, against the ideal and against peers.

    python benchmarks/overhead.py [repeats]

Ideal: the same calls in a bare loop, divided by the workers.  Peers run in turn with ours, and the
medians are of several repeats.  Ours includes drawing parameters, seeds, checks, checksums, and
every row synced to disk; joblib keeps results in memory.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import inferkit as ik

WORKERS = 2


def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def vectorised(theta, seeds):
    """About 1 µs a row, in numpy."""
    x = theta["a"]
    for _ in range(40):
        x = np.sin(x) + 0.1
    return {"x": x}


def row_5ms(theta, rng):
    busy(5e-3)
    return np.array([theta["a"], rng.standard_normal()])


def row_50ms(theta, rng):
    busy(50e-3)
    return np.array([theta["a"], rng.standard_normal()])


def row_1ms(theta, rng):
    busy(1e-3)
    return np.array([theta["a"], rng.standard_normal()])


def ours(function, n, vectorised=False):
    folder = Path(tempfile.mkdtemp())
    study = ik.Study(ik.simulator(function, vectorised=vectorised),
                     ik.Prior({"a": ik.Uniform(0.0, 1.0)}), path=folder / "run", quiet=True,
                     executor=ik.executor("local", workers=WORKERS))
    started = time.perf_counter()
    study.simulate(n)
    took = time.perf_counter() - started
    assert len(study.simulations) == n
    shutil.rmtree(folder)
    return took


def ideal(function, n, vectorised=False):
    """The calls alone, in one process, over the workers."""
    a = np.random.default_rng(0).random(n)
    rng = np.random.default_rng(1)
    started = time.perf_counter()
    if vectorised:
        function({"a": a}, np.arange(n, dtype=np.uint64))
    else:
        m = min(n, 400)
        for value in a[:m]:
            function({"a": value}, rng)
        return (time.perf_counter() - started) * n / m / WORKERS
    return (time.perf_counter() - started) / WORKERS


def by_joblib(function, n):
    try:
        from joblib import Parallel, delayed
    except ImportError:
        return float("nan")
    a = np.random.default_rng(0).random(n)
    started = time.perf_counter()
    Parallel(n_jobs=WORKERS)(delayed(function)({"a": v}, np.random.default_rng(i))
                             for i, v in enumerate(a))
    return time.perf_counter() - started


def main(repeats=5):
    print(f"{'simulator':<24}{'n':>8}{'ideal s':>9}{'ours s':>9}{'ratio':>7}{'joblib s':>10}"
          f"{'µs/row added':>14}")
    for name, function, n, batch in (
        ("1 µs vectorised", vectorised, 100_000, True), ("1 ms", row_1ms, 4000, False),
        ("5 ms", row_5ms, 2000, False), ("50 ms", row_50ms, 400, False),
    ):
        columns = [[], [], []]
        for _ in range(repeats):
            columns[0].append(ideal(function, n, batch))
            columns[1].append(ours(function, n, batch))
            columns[2].append(float("nan") if batch else by_joblib(function, n))
        best, mine, peer = (statistics.median(c) for c in columns)
        print(f"{name:<24}{n:>8}{best:>9.3f}{mine:>9.3f}{mine / best:>7.2f}{peer:>10.3f}"
              f"{(mine - best) / n * 1e6:>14.1f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
