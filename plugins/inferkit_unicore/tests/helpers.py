"""Simulators and studies that the tests share."""

import _thread
import sys
import threading
import time

import numpy as np

import inferkit as ik

N, ROWS = 16, 8
"""Simulations of a usual test, in two jobs."""


def noisy(theta, rng):
    """Depends on parameters and noise; fails for some parameters."""
    if theta["a"] < 0.08:
        raise ValueError("too small")
    x = rng.normal(size=6) + theta["a"]
    if theta["a"] > 0.95:
        x[2] = np.nan
    return {"x": x, "sum": x.sum()}


def slow(theta, rng):
    time.sleep(0.04)
    return noisy(theta, rng)


def prior():
    return ik.Prior({"a": ik.Uniform(0, 1)})


def local_digest(path, function=noisy, n=N, **settings):
    """The digest of a serial run on this machine."""
    study = ik.Study(function, prior(), path=path, seed=7, quiet=True,
                     executor=ik.executor("local", **(settings or {"workers": 0})))
    study.simulate(n)
    return study.simulations.digest()


def settings(server, **changes):
    return {"site": server.https, "ca": server.ca, "username": "demouser", "python": sys.executable,
            "workers": 0, "rows_per_job": ROWS, "poll_seconds": 0.1, "poll_max": 0.5,
            "collect_seconds": 0.2, "patience": 20.0, **changes}


def remote_study(server, path, function=noisy, *, timeout=None, **changes):
    return ik.Study(function, prior(), path=path, seed=7, quiet=True, timeout=timeout,
                    executor=ik.executor("unicore", **settings(server, **changes)))


def wait_for(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def interrupt_after(study, site, posted):
    """Ctrl-C in this process, once so many jobs were posted and started."""
    def watch():
        wait_for(lambda: len(site.posted) >= posted and site.count("POST", "start", 204) >= posted)
        _thread.interrupt_main()

    threading.Thread(target=watch, daemon=True).start()
    study.simulate(N)
