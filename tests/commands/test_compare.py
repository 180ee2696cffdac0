"""`inferkit compare`: one estimator that cannot be fitted costs the others nothing."""

import io

import numpy as np
import pytest

import inferkit as ik
from inferkit.commands import compare
from inferkit.errors import EstimatorError, PluginError
from inferkit.progress import Reporter


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


def stored(study):
    return {r: len(study.store.present(r)) for r in study.store.rounds()}


def test_no_new_simulation_runs_unless_it_is_asked_for(study):
    before = stored(study)
    (alone, smc) = compare.run(study, ["abc-rejection", "abc-smc"]).rows
    assert np.isfinite(alone.log_score) and "new simulations, and 0 may run" in smc.reason
    assert "--simulate" in smc.reason and stored(study) == before
    smc = ik.estimator("abc-smc", population=200)
    (allowed,) = compare.run(study, [smc], simulate=2000).rows
    assert allowed.status != "-"
    new = sum(stored(study).values()) - sum(before.values())
    assert 0 < new <= 2000
    assert study.running.limit is None and study.check()["predictive"].status != "NOT RUN"


def test_what_was_compared_is_kept(study, monkeypatch):
    first = compare.run(study, ["abc-rejection"]).rows[0]
    monkeypatch.setattr(study, "examine", lambda *a, **k: pytest.fail("scored again"))
    again = compare.run(study, ["abc-rejection"]).rows[0]
    assert str(compare.Comparison([again])) == str(compare.Comparison([first]))
    assert (again.covered == first.covered).all()
    monkeypatch.undo()
    study.fit("abc-rejection", refit=True)  # another fit is scored anew
    calls = []
    monkeypatch.setattr(compare, "_calibration", lambda c: calls.append(1) or (0.0, 0.0, 0.0))
    compare.run(study, ["abc-rejection"])
    assert calls == [1]


def test_one_that_is_stopped_tells_what_it_has(study, monkeypatch):
    def fit(estimator, **more):
        if estimator.config.accept == 0.5:
            raise KeyboardInterrupt
        return whole(estimator, **more)

    whole = study.fit
    monkeypatch.setattr(study, "fit", fit)
    study.reporter = Reporter(stream=io.StringIO())
    three = [ik.estimator("abc-rejection", accept=a) for a in (0.1, 0.5, 0.2)]
    compared = compare.run(study, three)
    assert compared.stopped and study.running.limit is None
    assert [np.isfinite(r.log_score) for r in compared.rows] == [True, False, False]
    assert "goes on" in compared.rows[2].reason
    told = study.reporter.stream.getvalue()
    assert "3 estimators on 540 stored simulations" in told and "2 of 3: abc-rejection" in told


def test_a_pairing_that_cannot_work_is_found_before_any_trains(study, monkeypatch):
    order = []
    monkeypatch.setattr(study, "fit", lambda e, **k: order.append(e.name) or pytest.fail(e.name))
    monkeypatch.setattr(study, "observed", None)
    (row,) = compare.run(study, ["abc-smc"]).rows
    assert "needs the observation" in row.reason and order == []
