"""The executors against the ideal and against peers, on the same simulations in the same run.

    python benchmarks/executors.py [repeats] [seconds]

Ideal: the bare calls in one process, over two workers.  Halves: two bare processes that run half of
them each, at once: what this machine can give just now.  Each system runs the same simulations, in
turn, `repeats` times (3); the table shows medians over the ideal.  `seconds` (8) is the ideal time
of one run.  All systems start their workers within the measured time, but "dask warm".  Ours draw
parameters, make a generator a row, check, and write every row to disk, synced; the peers keep
results in memory, and get their parameters for nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import inferkit as ik

WORKERS = 2
BATCH = 1000
SEEDS = itertools.count(1)
sys.path.insert(0, str(Path(__file__).parent))


def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def rows_10us(theta, seeds):
    """About 10 µs a row, in numpy, a batch at a time."""
    x = theta["a"]
    for _ in range(700):
        x = np.sin(x) + 0.1
    return {"x": x}


def row_1ms(theta, rng):
    busy(1e-3)
    return np.array([theta["a"], rng.standard_normal()])


def row_50ms(theta, rng):
    busy(50e-3)
    return np.array([theta["a"], rng.standard_normal()])


CASES = {"10 µs vectorised": (rows_10us, 10e-6, True), "1 ms": (row_1ms, 1e-3, False),
         "50 ms": (row_50ms, 50e-3, False)}


def bare(function, n, batch):
    """The calls, in this process; the seconds they took."""
    a = np.random.default_rng(0).random(n)
    rng = np.random.default_rng(1)
    started = time.perf_counter()
    if batch:
        for k in range(0, n, BATCH):
            function({"a": a[k : k + BATCH]}, None)
    else:
        for value in a:
            function({"a": value}, rng)
    return time.perf_counter() - started


def ideal(function, n, batch):
    m = max(n // 8, min(n, BATCH if batch else 40))
    return bare(function, m, batch) * n / m / WORKERS


def halves(function, n, batch):
    code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"from executors import *\nprint('ready', flush=True); input()\n"
            f"bare({function.__name__}, {n // WORKERS}, {batch}); print('done', flush=True)")
    held = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True,
                             stdout=subprocess.PIPE) for _ in range(WORKERS)]
    for p in held:
        p.stdout.readline()
    started = time.perf_counter()
    for p in held:
        p.stdin.write("\n")
        p.stdin.flush()
    for p in held:
        p.stdout.readline()
    took = time.perf_counter() - started
    for p in held:
        p.communicate()
    return took


def ours(executor):
    def run(function, n, batch):
        folder = Path(tempfile.mkdtemp())
        # A seed of its own: the same study again would find its finished jobs at the site.
        study = ik.Study(ik.simulator(function, vectorised=batch), quiet=True, path=folder / "run",
                         seed=next(SEEDS), executor=executor,
                         prior=ik.Prior({"a": ik.Uniform(0.0, 1.0)}))
        started = time.perf_counter()
        study.simulate(n)
        took = time.perf_counter() - started
        assert len(study.simulations.ok) == n
        shutil.rmtree(folder)
        return took

    return run


def by_joblib(function, n, batch):
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    a = np.random.default_rng(0).random(n)
    started = time.perf_counter()
    if batch:
        Parallel(n_jobs=WORKERS)(delayed(function)({"a": a[k : k + BATCH]}, None)
                                 for k in range(0, n, BATCH))
    else:
        Parallel(n_jobs=WORKERS)(delayed(function)({"a": v}, np.random.default_rng(i))
                                 for i, v in enumerate(a))
    took = time.perf_counter() - started
    get_reusable_executor().shutdown(wait=True)
    return took


def by_sbi(function, n, batch):
    import torch
    from joblib.externals.loky import get_reusable_executor
    from sbi.inference import simulate_for_sbi
    from sbi.utils import BoxUniform

    def simulator(theta):
        a = np.atleast_2d(np.asarray(theta))[:, 0]
        if batch:
            return torch.as_tensor(function({"a": a}, None)["x"])[:, None]
        rng = np.random.default_rng(0)
        return torch.as_tensor(np.stack([function({"a": v}, rng) for v in a]))

    prior = BoxUniform(torch.zeros(1), torch.ones(1))
    started = time.perf_counter()
    simulate_for_sbi(simulator, prior, n, num_workers=WORKERS, show_progress_bar=False,
                     simulation_batch_size=BATCH if batch else 1, seed=1)
    took = time.perf_counter() - started
    get_reusable_executor().shutdown(wait=True)
    return took


@contextlib.contextmanager
def systems():
    """Name -> run(function, n, batch), of what is installed here."""
    with contextlib.ExitStack() as stack:
        held = {"ideal": ideal, "halves": halves,
                "local": ours(ik.executor("local", workers=WORKERS))}
        try:
            from distributed import Client
            from inferkit_dask import loopback

            held["dask"] = ours(ik.executor("dask", workers=1, threads=WORKERS, dashboard="off"))
            cluster = loopback.start(WORKERS, "off", secure=False)
            stack.callback(cluster.close)
            cluster.scale(1)
            client = stack.enter_context(Client(cluster, set_as_default=False))
            client.wait_for_workers(1)
            held["dask warm"] = ours(ik.executor("dask", client=client))
        except ImportError as cause:
            print(f"no dask: {cause}")
        try:
            from inferkit_unicore.testserver import Site

            os.environ["UNICORE_PASSWORD"], os.environ["NO_PROXY"] = "test123", "127.0.0.1"
            site = stack.enter_context(Site(Path(tempfile.mkdtemp())))
            held["unicore"] = ours(ik.executor(
                "unicore", site=site.https, ca=site.ca, username="demouser", python=sys.executable,
                workers=WORKERS, max_jobs=1, poll_seconds=0.2, poll_max=0.5, collect_seconds=0.5))
        except Exception as cause:
            print(f"no unicore: {type(cause).__name__}: {cause}")
        for name, run, module in (("joblib", by_joblib, "joblib"), ("sbi", by_sbi, "sbi")):
            try:
                __import__(module)
                held[name] = run
            except ImportError as cause:
                print(f"no {name}: {cause}")
        yield held


def main(repeats=3, seconds=8.0):
    with systems() as held:
        print(f"{'simulator':<18}{'n':>9}{'ideal s':>9}" + "".join(
            f"{name:>11}" for name in held if name != "ideal"), flush=True)
        for case, (function, cost, batch) in CASES.items():
            n = int(seconds * WORKERS / cost)
            times = {name: [] for name in held}
            for _ in range(repeats):
                for name, run in held.items():
                    try:
                        times[name].append(run(function, n, batch))
                    except Exception as cause:
                        print(f"{name}: {type(cause).__name__}: {cause}", flush=True)
                        times[name].append(float("nan"))
            best = statistics.median(times.pop("ideal"))
            print(f"{case:<18}{n:>9}{best:>9.2f}" + "".join(
                f"{statistics.median(t) / best:>11.3f}" for t in times.values()), flush=True)
    print("(times over the ideal)")


if __name__ == "__main__":
    main(*(int(sys.argv[1]),) if len(sys.argv) == 2 else
         (int(sys.argv[1]), float(sys.argv[2])) if len(sys.argv) > 2 else ())
