"""Sweeps of whole studies on Dask."""

import inferkit as ik
from inferkit.commands import sweep


def one(seed, noise, path):
    study = ik.Study(lambda t, rng: t["a"] + noise * rng.standard_normal(), quiet=True, path=path,
                     prior=ik.Prior({"a": ik.Normal(0.0, 1.0)}), seed=seed,
                     estimator=ik.estimator("abc-rejection"), executor=ik.executor("local", workers=0))
    study.simulate(150)
    if noise > 5:
        raise ValueError("too noisy")
    study.fit()
    return {"rows": len(study.simulations)}


def test_a_sweep_of_studies(tmp_path):
    grid = {"seed": [1, 2], "noise": [0.1, 9.0]}
    table = sweep.run(one, grid, path=tmp_path, executor=ik.executor("dask", workers=2), quiet=True)
    assert table.to_table()["status"] == ["ok", "exception"] * 2
    assert table.rows[0]["rows"] == 150
    assert "too noisy" in table.failed[0]["message"]
    assert len(list(tmp_path.glob("seed=*/store.json"))) == 4
