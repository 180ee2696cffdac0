"""`inferkit compare`: one estimator that cannot be fitted costs the others nothing."""

import numpy as np
import pytest

import inferkit as ik
from inferkit.commands import compare
from inferkit.errors import EstimatorError, PluginError


@pytest.fixture
def study(tmp_path):
    made = ik.Study(lambda t, rng: t["a"] + 0.1 * rng.standard_normal(2),
                    ik.Prior({"a": ik.Uniform(0, 1)}), path=tmp_path / "run", quiet=True,
                    observed=np.array([0.4, 0.5]), executor=ik.executor("local", workers=0))
    made.simulate(600)
    return made


def test_a_row_says_why_it_is_empty(study, monkeypatch, tmp_path):
    def fit(estimator, **more):
        if estimator.name == "abc-smc":
            raise EstimatorError("the observation has undefined features", fix="leave them out")
        return whole(estimator, **more)

    whole = study.fit
    monkeypatch.setattr(study, "fit", fit)
    compared = compare.run(study, ["abc-smc", "abc-rejection"])
    assert [r.estimator for r in compared.rows] == ["abc-smc", "abc-rejection"]
    assert np.isfinite(compared.rows[1].log_score) and np.isnan(compared.rows[0].log_score)
    told = str(compared).splitlines()
    assert "abc-smc: the observation has undefined features" in str(compared)
    assert told[1].split() == ["abc-smc", "-", "0", "-", "-", "-", "-", "-"]
    assert compared.picture(tmp_path / "c.png").stat().st_size > 5000


def test_the_picture_shows_posteriors_over_each_other(study, monkeypatch, tmp_path):
    drawn = {}
    whole = ik.plot.compare

    def compared(several, **more):
        drawn.update(several)
        return whole(several, **more)

    monkeypatch.setattr(ik.plot, "compare", compared)
    found = compare.run(study, ["abc-rejection", ik.estimator("abc-rejection", accept=0.3)])
    found.picture(tmp_path / "c.png")
    assert list(drawn) == ["abc-rejection", "abc-rejection (2)"]
    for samples in drawn.values():
        assert abs(samples["a"].mean() - 0.45) < 0.1


def test_a_wrong_name_is_told_before_anything_trains(study):
    with pytest.raises(PluginError, match="did you mean 'abc-rejection'"):
        compare.run(study, ["abc-rejection", "abc-rejecton"])
    assert not list((study.path / "fits").glob("*")) if (study.path / "fits").exists() else True
