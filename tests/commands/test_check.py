"""`inferkit check`: rows of a vectorised function must not know of each other."""

import numpy as np
import pytest

import inferkit as ik
from inferkit import seeds
from inferkit.commands import check


def sound(theta, row_seeds):
    return {"x": theta["a"][:, None] + seeds.normals(row_seeds, (8,))}


def one_generator(theta, row_seeds):
    return {"x": theta["a"][:, None] + np.random.default_rng(row_seeds[0]).standard_normal(
        (len(row_seeds), 8))}


def batch_mean(theta, row_seeds):
    x = sound(theta, row_seeds)["x"]
    return {"x": x - x.mean(axis=0)}


def rounded(theta, row_seeds):
    return {"x": sound(theta, row_seeds)["x"] * (1 + 1e-7 * (len(row_seeds) > 1))}


@pytest.mark.parametrize(("function", "status", "words"), [
    (sound, "PASS", "same bytes"), (one_generator, "FAIL", "depends on the rows beside it"),
    (batch_mean, "FAIL", "depends on the rows beside it"), (rounded, "WARN", "to rounding (1e-07)"),
])
def test_rows_of_a_vectorised_function(tmp_path, function, status, words):
    study = ik.Study(ik.simulator(function, vectorised=True), ik.Prior({"a": ik.Uniform(1.0, 2.0)}),
                     path=tmp_path / "run", executor=ik.executor("local", workers=0), quiet=True)
    found = {v.name: v for v in check.run(study, 100).verdicts}
    assert found["batches"].status == status and words in found["batches"].evidence
    assert (found["batches"].remedy == "") == (status == "PASS")


def test_a_global_generator_is_noticed(tmp_path):
    study = ik.Study(lambda theta, rng: theta["a"] + np.random.standard_normal(), ik.Prior(
        {"a": ik.Uniform(1.0, 2.0)}), path=tmp_path / "run", quiet=True,
        executor=ik.executor("local", workers=0))
    found = {v.name: v for v in check.run(study, 100).verdicts}
    assert found["seeds"].status == "FAIL" and "global" in found["seeds"].remedy
