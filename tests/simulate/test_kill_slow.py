"""The store killed with -9 at twenty random moments, resumed each time with other chunks and other
worker counts, and in the end equal byte for byte to an undisturbed run."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from inferkit.store import Simulations, Store

SCRIPT = """
    import sys
    sys.path.insert(0, {folder!r})
    import inferkit as ik, models
    from inferkit import simulate
    simulate.TARGET = {target}
    study = ik.Study(ik.simulator(models.mixed), ik.Prior({{"a": ik.Uniform(0.0, 1.0)}}),
                     executor=ik.executor("local", workers={workers}), path={path!r}, seed=3,
                     timeout=0.4)
    print("go", flush=True)
    study.simulate({n})
"""
ROWS = 8000


def start(path, workers, target):
    code = textwrap.dedent(SCRIPT).format(folder=str(Path(__file__).parent), workers=workers,
                                          target=target, path=str(path), n=ROWS)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, start_new_session=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills(tmp_path):
    whole = start(tmp_path / "whole", 2, 0.5)
    assert whole.wait(timeout=600) == 0
    rng = np.random.default_rng(20)
    kills, kept = 0, []
    while kills < 20:
        process = start(tmp_path / "run", int(rng.integers(1, 4)), float(rng.choice([0.05, 0.3, 1.0])))
        process.stdout.readline()
        time.sleep(float(rng.uniform(0.1, 2.5)))
        assert process.poll() is None, "it finished before it could be killed twenty times"
        process.kill()
        process.wait()
        kills += 1
        store = Store.existing(tmp_path / "run") if (tmp_path / "run/store.json").exists() else None
        kept.append(len(Simulations(store, 0)) if store else 0)
    assert kept == sorted(kept), "a finished row was lost"
    assert start(tmp_path / "run", 2, 0.5).wait(timeout=600) == 0
    a, b = (Simulations(Store.existing(tmp_path / name), 0) for name in ("run", "whole"))
    assert np.array_equal(a.index, np.arange(ROWS))
    assert a.digest() == b.digest()
    print("rows kept after each kill:", kept)
