"""Long: everything goes wrong, again and again, and the result is still that of a serial run.

    pytest -m slow plugins/inferkit_unicore/tests/test_chaos.py
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from unicore_helpers import prior, remote_study, settings, wait_for

import inferkit as ik

N = 2000
CLIENT = """
import importlib.util, sys
for name, file in {modules!r}.items():
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
import inferkit as ik
study = ik.Study(sys.modules["unicore_chaos"].mixed, sys.modules["unicore_helpers"].prior(),
                 path={path!r}, seed=7, quiet=True, timeout=2.0,
                 executor=ik.executor("unicore", **{settings!r}))
study.simulate({n})
"""


def mixed(theta, rng):
    """Mostly quick, sometimes slow; 1 % raise, 0.2 % hang, 1 % are NaN, 0.3 % kill their process."""
    import os
    import signal
    import time

    kind = rng.random()
    x = rng.normal(size=8) * theta["a"]
    if kind < 0.010:
        raise RuntimeError(f"a is {theta['a']:.3f}")
    if kind < 0.012:
        time.sleep(60)
    if kind < 0.022:
        x[3] = np.nan
    elif kind < 0.025:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.03 if kind > 0.95 else 0.002)
    return {"x": x, "kind": kind}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_chaos(site, tmp_path):
    path = tmp_path / "run"
    rng = random.Random(5)
    local = ik.Study(mixed, prior(), path=tmp_path / "local", seed=7, quiet=True, timeout=2.0,
                     executor=ik.executor("local", workers=2))
    local.simulate(N)
    counts = local.simulations.counts
    assert all(counts[s] for s in ("ok", "exception", "nonfinite", "crash", "timeout")), counts
    changes = {"workers": 1, "rows_per_job": 250, "max_jobs": 4, "retries": 10}
    code = CLIENT.format(
        modules={"unicore_helpers": str(Path(__file__).parent / "helpers.py"),
                 "unicore_chaos": __file__},
        path=str(path), n=N, settings=settings(site, **changes))

    def mischief():
        while not over.wait(0.4):
            files = rf"files/.*{rng.choice(['safetensors', 'manifest'])}"
            add, part = site.faults.add, rng.random()
            match rng.randrange(8):
                case 0:
                    add("status", "POST", "/jobs$", code=503, after=True)
                case 1:
                    add("close", "POST", "/jobs$", after=part < 0.5)
                case 2:
                    add("reset", "GET", files, fraction=part)
                case 3:
                    add("truncate", "GET", files, fraction=part)
                case 4:
                    add("status", "GET", rng.choice(["", files]), code=503)
                case 5:
                    add("expire_sessions")
                case 6:
                    site.faults.drop_exit_code = 1
                case 7:
                    site.faults.queue_seconds = part

    over = threading.Event()
    trouble = threading.Thread(target=mischief)
    trouble.start()
    began = time.monotonic()
    try:
        for kill_at in (3, 6):  # SIGKILL twice, in mid-campaign
            client = subprocess.Popen([sys.executable, "-c", code],
                                      env={**os.environ, "UNICORE_PASSWORD": "test123"})
            try:
                wait_for(lambda k=kill_at: site.started >= k, 60)
                time.sleep(1.0)
            finally:
                client.send_signal(signal.SIGKILL)
                client.wait(10)
        # One job runs into its walltime, one loses a shard, and the server restarts.
        site.faults.walltime, site.faults.walltime_jobs, site.faults.drop_shards = 2.5, 1, 1
        threading.Timer(4.0, site.restart, (0.5,)).start()
        study = remote_study(site, path, mixed, timeout=2.0, **changes)
        study.simulate(N)
    finally:
        over.set()
        trouble.join()
    assert study.simulations.counts == counts
    assert study.simulations.digest() == local.simulations.digest()
    posted = sum(int(p["Name"].split("(")[1][:-1]) for p in site.posted)
    print(f"\nchaos: {N} rows in {time.monotonic() - began:.0f} s, {len(site.posted)} jobs, "
          f"{posted} rows asked for, {len(site.faults.struck)} faults, {counts}")
    # Beyond the rows of the two jobs that were sabotaged and of those killed before their start,
    # nothing was asked for twice.
    assert posted <= N + 4 * 250
