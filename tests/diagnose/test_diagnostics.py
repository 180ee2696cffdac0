"""The other diagnostics: each is shown something sound and something wrong, and must say which."""

import numpy as np
import pytest

import inferkit as ik
from inferkit.builtin.diagnostics import (
    failures,
    leakage,
    misspecification,
    predictive,
    recovery,
    training,
    typicality,
)
from inferkit.diagnose import common
from tests.diagnose import studies

NAMES = ["a", "b", "c"]


def rng(seed=0):
    return np.random.default_rng(seed)


# -- whole studies -------------------------------------------------------------------------------


def test_an_exact_posterior_passes_everything(tmp_path):
    _, checks = studies.check(studies.gaussian(tmp_path))
    found = {v.name: v.status for v in checks}
    assert found.pop("training") == "NOT RUN"
    assert set(found.values()) == {"PASS"}, str(checks)
    assert checks.status == "PASS" and all(v.rests_on for v in checks if v.status == "PASS")


def test_a_narrow_posterior_fails_and_every_fault_has_a_remedy(tmp_path):
    _, checks = studies.check(studies.gaussian(tmp_path, stretch=0.6))
    assert [checks[n].status for n in ("sbc", "coverage", "tarp")] == ["FAIL"] * 3
    assert all(v.remedy for v in checks if v.status in ("FAIL", "WARN"))


def test_remedies_speak_of_the_estimator_at_hand(tmp_path):
    from dataclasses import replace

    from inferkit.plugins import Component

    study = studies.gaussian(tmp_path, stretch=0.5)
    spec = replace(study.posterior.estimator.spec, improve="width = 64")
    study.posterior.estimator = Component(spec)
    checks = study.check(only=["sbc", "recovery"])
    assert checks["sbc"].status == "FAIL"
    assert checks["sbc"].remedy.endswith("; with made-up: width = 64")
    assert "width" not in checks["recovery"].remedy


def test_a_posterior_of_one_observation_says_what_it_cannot_check(tmp_path):
    _, checks = studies.check(studies.gaussian(tmp_path, amortised=False))
    for name in ("sbc", "coverage", "tarp"):
        assert checks[name].status == "NOT RUN" and "abc-rejection" in checks[name].remedy
    assert checks["contraction"].status == "PASS" and checks["predictive"].status == "PASS"


def test_without_observation_or_truth_the_rest_runs(tmp_path):
    _, checks = studies.check(studies.gaussian(tmp_path, observed=False, truth=False))
    for name in ("predictive", "misspecification", "recovery"):
        assert checks[name].status == "NOT RUN" and checks[name].remedy
    assert checks["sbc"].status == "PASS" and checks["leakage"].status == "PASS"


def test_too_few_held_out_simulations_are_not_a_pass(tmp_path):
    _, checks = studies.check(studies.gaussian(tmp_path, n=100), "SBC", "Coverage", "TARP")
    assert {v.status for v in checks} == {"NOT RUN"}
    assert "10 held-out" in checks["sbc"].evidence and "simulate" in checks["sbc"].remedy


def test_an_observation_from_elsewhere_fails(tmp_path):
    study = studies.gaussian(tmp_path, observed={"x": np.array([9.0, 0.0, 0.0])})
    _, checks = studies.check(study, "Misspecification", "PosteriorPredictive")
    assert checks["misspecification"].status == "FAIL"
    assert "x[0]" in checks["misspecification"].evidence
    assert checks["predictive"].status == "FAIL" and "x[0]" in checks["predictive"].evidence


# -- predictive ----------------------------------------------------------------------------------


def test_predictive_features_are_calibrated_over_many_correlated_features():
    alarms = 0
    for seed in range(200):
        r = rng(seed)
        s = r.standard_normal((201, 5)) @ r.standard_normal((5, 40))
        alarms += predictive.features(s[:200], s[200], [f"f{j}" for j in range(40)]).status != "PASS"
    assert alarms <= 7  # 1 % expected


def test_predictive_features_name_what_is_off():
    s, o = rng().standard_normal((200, 3)), np.array([0.1, 12.0, 0.3])
    verdict = predictive.features(s, o, NAMES)
    assert verdict.status == "FAIL" and "b (+1" in verdict.evidence and verdict.remedy
    assert verdict.curves["tail"][1] <= 2 / 201 < 0.1 < verdict.curves["tail"][0]


@pytest.mark.parametrize(("column", "value", "status"), [
    (np.zeros(200), 0.0, "PASS"), (np.zeros(200), 1.0, "FAIL"),
    (np.full(200, np.nan), np.nan, "PASS"), (np.full(200, np.nan), 1.0, "FAIL"),
    (None, np.nan, "FAIL"),
], ids=["constant", "not the constant", "all NaN", "only data defined", "only data NaN"])
def test_predictive_features_that_are_constant_or_undefined(column, value, status):
    s = rng().standard_normal((200, 2))
    if column is not None:
        s[:, 1] = column
    assert predictive.features(s, np.array([0.2, value]), NAMES[:2]).status == status


def test_predictive_envelope():
    r = rng()
    s = r.standard_normal((200, 300))
    assert predictive.envelope(s, r.standard_normal(300), "V").status == "PASS"
    verdict = predictive.envelope(s, r.standard_normal(300) + 3, "V")
    assert verdict.status == "FAIL" and verdict.numbers["inside"] < 0.3


# -- typicality ----------------------------------------------------------------------------------


def test_typicality_alarms_at_its_nominal_rate_and_sees_what_is_far():
    """Of summaries that are heavy-tailed and dependent, and one that the network left constant."""
    def summaries(n, seed):
        r = rng(seed)
        s = r.standard_t(3, (n, 5)) @ rng(7).standard_normal((5, 5))
        return np.concatenate([s, np.ones((n, 1))], axis=1)

    a, b = summaries(600, 1), summaries(400, 2)
    usual = [typicality.check(a, b, row).status for row in summaries(1000, 3)]
    assert usual.count("PASS") > 965 and usual.count("FAIL") <= 3
    far = typicality.check(a, b, summaries(1, 4)[0] + 60)
    assert far.status == "FAIL" and "held-out" in far.evidence and far.remedy


# -- misspecification ----------------------------------------------------------------------------


def heavy(r, n):
    """Skewed, heavy-tailed, correlated features."""
    return np.exp(r.standard_normal((n, 3)) @ np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 1.5]]))


def test_misspecification_alarms_at_its_nominal_rate_for_heavy_tails():
    found = []
    for seed in range(300):
        s = heavy(rng(seed), 601)
        found.append(misspecification.check(s[:600], s[600], NAMES).status)
    assert sum(f != "PASS" for f in found) <= 9  # 1 % expected
    assert found.count("FAIL") <= 3


def test_misspecification_sees_a_broken_correlation():
    r = rng()
    base = r.standard_normal((1000, 1))
    s = np.hstack([base + 0.05 * r.standard_normal((1000, 1)) for _ in range(3)])
    verdict = misspecification.check(s, np.array([1.5, -1.5, 1.5]), NAMES)
    assert verdict.status == "FAIL"


def test_misspecification_with_more_values_than_simulations():
    r = rng()
    s = np.cumsum(r.standard_normal((301, 2000)), axis=1)
    names = [f"V[{i}]" for i in range(2000)]
    assert misspecification.check(s[:300], s[300], names).status == "PASS"
    jumpy = s[300] + 300 * r.standard_normal(2000)
    assert misspecification.check(s[:300], jumpy, names).status == "FAIL"


def test_misspecification_of_undefined_and_impossible_values():
    s = rng().standard_normal((400, 3))
    s[:, 2] = 1.0
    assert misspecification.check(s, np.array([0.0, 0.0, 1.0]), NAMES).status == "PASS"
    nan = misspecification.check(s, np.array([0.0, np.nan, 1.0]), NAMES)
    assert nan.status == "FAIL" and "b = NaN" in nan.evidence
    other = misspecification.check(s, np.array([0.0, 0.0, 2.0]), NAMES)
    assert other.status == "FAIL" and "value of c" in other.evidence
    assert misspecification.check(np.ones((100, 1)), np.ones(1), ["a"]).status == "NOT RUN"


# -- failures, leakage, recovery -----------------------------------------------------------------


def test_failures_say_how_many_how_and_where():
    theta = rng().random((1000, 3))
    assert failures.check(theta, np.zeros(1000, int), NAMES).status == "PASS"
    anywhere = failures.check(theta, (rng(1).random(1000) < 0.05).astype(int), NAMES)
    assert anywhere.status == "WARN" and "does not visibly depend" in anywhere.evidence
    corner = failures.check(theta, np.where(theta[:, 1] > 0.9, 3, 0), NAMES)
    assert corner.status == "WARN" and "b (high values" in corner.evidence
    assert "timeout" in corner.evidence and "cut the prior below" in corner.remedy
    assert failures.check(theta, np.where(theta[:, 0] > 0.5, 1, 0), NAMES).status == "FAIL"
    assert failures.check(theta, np.ones(1000, int), NAMES).status == "FAIL"


def test_auc_is_the_probability_it_says():
    theta = np.array([[1.0], [2.0], [3.0], [4.0]])
    value, p = common.auc(theta, np.array([False, False, True, True]))
    assert value == 1.0 and 0 < p < 1


def test_leakage(tmp_path):
    import inferkit as ik

    prior = ik.Prior({"a": ik.Uniform(0, 1)})
    assert leakage.outside(prior, np.array([[0.5], [1.5], [-1.0]])).tolist() == [False, True, True]

    class Wide:
        def sample(self, n, x, rng):
            return rng.uniform(-0.3, 1.0, (n, 1))

    study = ik.Study(lambda theta, rng: {"x": theta["a"] + rng.normal(size=1)}, prior, path=tmp_path,
                     executor=ik.executor("local", workers=0), quiet=True, observed={"x": [0.5]})
    study.simulate(300)
    studies.with_engine(study, Wide())
    _, checks = studies.check(study, "Leakage")
    assert checks["leakage"].status == "FAIL"
    assert abs(checks["leakage"].numbers["observation"] - 0.23) < 0.05


def test_recovery():
    draws = rng().standard_normal((2000, 3))
    assert recovery.check(np.array([0.5, -1.0, 2.0]), draws, NAMES).status == "PASS"
    near = recovery.check(np.array([0.0, 4.2, 0.0]), draws, NAMES)
    assert near.status == "WARN" and "b (+4." in near.evidence
    assert recovery.check(np.array([0.0, 9.0, 0.0]), draws, NAMES).status == "FAIL"


# -- training ------------------------------------------------------------------------------------

FALL = [float(v) for v in 1 + 9 * np.exp(-np.arange(60) / 6)]


@pytest.mark.parametrize(("info", "status", "word"), [
    ({}, "NOT RUN", "nothing"),
    ({"loss": FALL}, "PASS", "level"),
    ({"loss": FALL, "validation_loss": FALL[:12]}, "WARN", "still falling"),
    ({"validation_loss": FALL[:30] + [1 + 0.1 * k for k in range(30)]}, "WARN", "overfits"),
    ({"validation_loss": FALL[:30] + [1 + 0.1 * k for k in range(30)], "best_epoch": 30},
     "PASS", ""),
    ({"loss": [1.0, 2.0, float("nan")]}, "FAIL", "nan"),
    ({"rhat": {"a": 1.001, "b": 1.3}, "ess": {"a": 900}, "divergences": 0}, "FAIL", "(b)"),
    ({"rhat": 1.002, "ess": 1500, "divergences": 4}, "WARN", "4 divergent"),
    ({"rhat": 1.001, "ess": 900, "e_bfmi": 0.1}, "WARN", "E-BFMI 0.10"),
    ({"rhat": [1.0, 1.005], "ess": [500, 800], "divergences": 0}, "PASS", "1.005"),
    ({"rhat": {"a": float("nan")}}, "FAIL", "nan"),
    ({"generations": [{"tolerance": 5.0, "ess": 1000}, {"tolerance": 1.0, "acceptance": 0.1,
                                                        "ess": 700}]}, "PASS", "5 → 1"),
    ({"generations": [{"tolerance": 5.0, "ess": 1000}, {"tolerance": 1.0, "ess": 20}]},
     "FAIL", "effective size 20"),
    ({"generations": [{"tolerance": 5.0, "ess": 1000}, {"tolerance": 1.0, "ess": 700}],
      "effective_size": 60}, "WARN", "widths to ±9%"),
    ({"generations": [{"tolerance": 5.0, "ess": 500}, {"tolerance": 1.0, "ess": 500}],
      "effective_size": 400, "shift": 0.0, "narrowed": 0.5}, "WARN", "moved a width by 65%"),
    ({"generations": [{"tolerance": 5.0, "ess": 500}, {"tolerance": 1.0, "ess": 500}],
      "effective_size": 400, "shift": 0.7, "stopped": "max_simulations"}, "WARN", "a mean by 0.7 sd"),
])
def test_training(info, status, word):
    verdict = training.check(info)
    assert verdict.status == status and word in verdict.evidence, str(verdict)
    assert verdict.remedy or status in ("PASS", "NOT RUN")


# -- false alarms of what is exchangeable --------------------------------------------------------


def alarms(check, times):
    return sum(check(rng(seed)).status != "PASS" for seed in range(times))


def test_long_traces_few_draws_and_sparse_counts_alarm_no_more_than_they_say():
    """Each was a false alarm in a third of cases or more while the envelope knew its own traces."""
    names = [f"n{j}" for j in range(20)]
    assert alarms(lambda r: predictive.envelope(
        r.standard_normal((100, 4000)), r.standard_normal(4000), "x"), 40) <= 2
    assert alarms(lambda r: predictive.features(
        r.poisson(0.05, (20, 20)) * 1.0, r.poisson(0.05, 20) * 1.0, names), 200) <= 6
    assert predictive.envelope(rng().standard_normal((200, 400)),
                               1.5 * rng(1).standard_normal(400), "x").status != "PASS"


@pytest.mark.parametrize("d", (84, 200))
def test_one_of_many_parameters_lies_outside_all_draws_by_chance(d):
    names = [f"a{j}" for j in range(d)]
    assert alarms(lambda r: recovery.check(
        r.standard_normal(d), r.standard_normal((2000, d)), names), 200) <= 4
    truth = rng().standard_normal(d)
    truth[3] = 8.0
    assert recovery.check(truth, rng(1).standard_normal((2000, d)), names).status == "FAIL"


def test_misspecification_of_few_simulations_and_of_one_input_among_many():
    names = [f"x{j}" for j in range(50)]
    assert alarms(lambda r: misspecification.check(
        r.standard_normal((50, 5)), r.standard_normal(5), names[:5]), 300) <= 8
    odd = rng(1).standard_normal(50)
    odd[7] += 6
    verdict = misspecification.check(rng(2).standard_normal((2000, 50)), odd, names)
    assert verdict.status != "PASS" and "x7" in verdict.evidence


def test_rare_values_are_no_news_where_simulations_have_them_too():
    """Of 200 sparse counts, one is new in every observation, and in many a simulation."""
    names = [f"n{j}" for j in range(200)]

    def counts(r, n):
        return r.poisson(0.1, (n, 200)) * 1.0

    assert alarms(lambda r: misspecification.check(counts(r, 50), counts(r, 1)[0], names), 60) <= 2
    silent = np.where(rng().random((2000, 1)) < 0.004, np.nan, rng(1).standard_normal((2000, 200)))
    own = misspecification.check(silent, np.full(200, np.nan), names)
    assert own.status == "WARN" and "few simulations have n0 = NaN" in own.evidence
    never = misspecification.check(rng(1).standard_normal((2000, 200)), np.full(200, np.nan), names)
    assert never.status == "FAIL" and "the model never makes n0 = NaN" in never.evidence


def test_heavy_tails_among_few_simulations_alarm_no_more_than_they_say():
    """The farthest of 26 is half as far again as the next in every second case."""
    def heavy(r, n):
        return r.standard_t(2, (n, 1))

    assert alarms(lambda r: misspecification.check(heavy(r, 50), heavy(r, 1)[0], ["x"]), 600) <= 12
    assert alarms(lambda r: predictive.features(heavy(r, 20), heavy(r, 1)[0], ["x"]), 600) <= 12
    far = np.full(1, 400.0)
    assert misspecification.check(heavy(rng(), 50), far, ["x"]).status != "PASS"
    assert predictive.features(heavy(rng(), 20), far, ["x"]).status == "FAIL"


def test_other_noise_shows_in_a_trace_s_steps():
    """Twice the noise, hidden among movements thirty times as large."""
    from inferkit.features import View

    view = View((), {"v": ik.Output("v", (300,))})
    r = rng(3)
    move = 30 * r.standard_normal((401, 1)) * np.sin(np.linspace(0, 6, 300))
    x = move + r.standard_normal((401, 300))
    x[-1] += 1.7 * r.standard_normal(300)
    steps, names = misspecification.step_sizes({"v": x}, view)
    assert names == ["steps of v"] and steps.shape == (401, 1)
    both = np.concatenate([x, steps], axis=1)
    labels = [f"v{i}" for i in range(300)] + names
    assert misspecification.check(both[:-1], both[-1], labels).status != "PASS"
    assert misspecification.check(both[:-2], both[-2], labels).status == "PASS"


def test_chains_that_stay_apart_and_weights_without_a_mean_are_told():
    assert training.check({"rhat": 9.4, "steps": 20}).status == "FAIL"
    assert training.check({"rhat": 1.1, "steps": 20}).status == "PASS"
    assert training.check({"rhat": 1.1}).status == "FAIL"
    assert training.check({"khat": 0.3}).status == "PASS"
    told = training.check({"khat": 1.4})
    assert told.status == "FAIL" and "1.40" in told.evidence and told.remedy
