"""Runs of very many shards: a study's stages with few descriptors, and a slow simulator's files."""

import itertools
import subprocess
import sys
import textwrap
import types

import numpy as np

import inferkit as ik
from inferkit.simulate import chunk, driver


def test_every_stage_with_few_descriptors(tmp_path):
    """600 shards of a row each under `ulimit -n 64`: read, fitted, gone on with, checked, told."""
    code = textwrap.dedent("""
        import resource, sys
        import numpy as np
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        import inferkit as ik
        from inferkit.simulate import PriorDraws
        from inferkit.store import Rows
        task = ik.simulator("gaussian_linear", dim=2)
        study = ik.Study(task, task.build().prior(), path=sys.argv[1], quiet=True,
                         observed=task.build().observation(1), features=lambda x: 2.0 * x["x"],
                         executor=ik.executor("local", workers=1))
        theta = PriorDraws(study.prior, study.seed)(np.arange(600))["theta"]
        noise = np.random.default_rng(0).standard_normal((600, 2))
        for i in range(600):
            study.store.write(Rows(0, np.array([i]), np.zeros(1, np.uint8), np.zeros(1, np.float32),
                                   {"theta": theta[i:i + 1]}, {"x": theta[i:i + 1] + noise[i:i + 1]}))
        assert study.fit().sample(10).values.shape == (10, 2)
        assert len(list(study.store.folder.iterdir())) == 600
        assert study.simulate(610).done == 10
        print(len(list(study.store.folder.iterdir())))
        study.fit()
        print(study.check().status, study.report().name)
    """)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    files, status, report = done.stdout.split()
    assert int(files) < 15 and status != "FAIL" and report == "report.html"


def test_a_slow_simulator_leaves_few_shards(tmp_path, monkeypatch):
    """Rows of 10 s, by a clock that says so: each becomes a shard, and never many are there at once."""
    ticks = itertools.count(0.0, 10.0)
    monkeypatch.setattr(chunk, "time", types.SimpleNamespace(monotonic=lambda: next(ticks)))
    written, most = [], [0]

    def watch(store, receipt):
        written.extend(receipt.shards)
        most[0] = max(most[0], len(list(store.folder.iterdir())))

    monkeypatch.setattr(driver, "observe", watch)
    study = ik.Study(lambda theta, rng: theta["a"] + rng.standard_normal(2), path=tmp_path / "run",
                     prior=ik.Prior({"a": ik.Uniform(0.0, 1.0)}), quiet=True,
                     executor=ik.executor("local", workers=0))
    progress = study.simulate(600)
    assert progress.sim_seconds >= 6_000 and len(written) == 600
    assert most[0] <= driver.COMPACT_EVERY + 1
    assert len(list(study.store.folder.iterdir())) < 100
    assert np.array_equal(study.simulations.index, np.arange(600))
