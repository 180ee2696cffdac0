"""SBC, coverage and TARP on the gaussian_linear task: the exact posterior passes, wrong ones fail.

Every engine below is the task's closed-form posterior, changed in one way.
"""

import numpy as np
import pytest

from inferkit import seeds
from inferkit.builtin.diagnostics import contraction, coverage, sbc, tarp
from inferkit.builtin.tasks import GaussianLinear, GaussianLinearConfig
from inferkit.diagnose import common
from inferkit.diagnose.uniform import band, ecdf, pit, points, shift_together, uniformity

TASK = GaussianLinear(GaussianLinearConfig(dim=4))
SIMULATIONS, DRAWS, SEEDS = 200, 500, 20
PRIOR_SD = np.sqrt(TASK.config.prior_var) * np.ones(TASK.dim)


def exact(x, rng, n=DRAWS):
    return np.stack([TASK.reference_posterior(n, {"x": row}, rng) for row in x])


def resized(factor):
    def engine(x, rng, n=DRAWS):
        draws = exact(x, rng, n)
        mean = np.stack([TASK.posterior_moments({"x": row})[0] for row in x])[:, None]
        return mean + factor * (draws - mean)
    return engine


def shifted(x, rng, n=DRAWS):
    return exact(x, rng, n) + 0.5 * np.sqrt(TASK.posterior_moments({"x": x[0]})[1][0, 0])


def the_prior(x, rng, n=DRAWS):
    return PRIOR_SD * rng.standard_normal((len(x), n, TASK.dim))


def simulations(seed, n):
    rng = np.random.default_rng(seed)
    theta = PRIOR_SD * rng.standard_normal((n, TASK.dim))
    return theta, TASK.simulate({"theta": theta}, seeds.row_seeds(seed, 0, np.arange(n)))["x"]


def case(engine, seed):
    theta, x = simulations(seed, SIMULATIONS)
    rng = np.random.default_rng(seed + 10_000)
    return theta, x, engine(x, rng), rng


def statuses(engine, check):
    return [check(*case(engine, seed)).status for seed in range(SEEDS)]


def by_sbc(theta, x, draws, rng):
    return sbc.check(theta, draws, rng)


def by_pairs(theta, x, draws, rng):
    return sbc.check_pairs(theta, draws, rng)


def by_coverage(theta, x, draws, rng):
    return coverage.check(theta, draws, rng)


def by_tarp(theta, x, draws, rng):
    train, seen = simulations(int(rng.integers(1 << 30)), 1800)
    near = train[((x[:, None] - seen) ** 2).sum(-1).argmin(axis=1)]
    random = PRIOR_SD * rng.standard_normal(theta.shape)
    return tarp.check(theta, draws, {"random": random, "near": near}, PRIOR_SD, rng)


@pytest.mark.parametrize("check", [by_sbc, by_pairs, by_coverage, by_tarp])
def test_the_exact_posterior_passes(check):
    found = statuses(exact, check)
    assert found.count("PASS") >= SEEDS - 1 and "FAIL" not in found


@pytest.mark.parametrize(("engine", "word"), [
    (resized(0.7), "too narrow"), (resized(1.4), "too wide"), (shifted, "biased up"),
], ids=["narrow", "wide", "shifted"])
def test_sbc_fails_a_wrong_posterior_and_says_how(engine, word):
    found = [by_sbc(*case(engine, seed)) for seed in range(SEEDS)]
    assert [v.status for v in found].count("FAIL") >= SEEDS - 1
    assert all(word in v.evidence and v.remedy for v in found if v.status == "FAIL")


@pytest.mark.parametrize("engine", [resized(0.7), resized(1.4)], ids=["narrow", "wide"])
@pytest.mark.parametrize("check", [by_coverage, by_tarp])
def test_coverage_and_tarp_fail_wrong_widths(engine, check):
    assert statuses(engine, check).count("FAIL") >= SEEDS - 1


def test_the_prior_passes_sbc_and_is_found_by_tarp_and_contraction():
    """SBC averages over x and cannot see a posterior that ignores it."""
    assert statuses(the_prior, by_sbc).count("PASS") >= SEEDS - 1
    found = [by_tarp(*case(the_prior, seed)) for seed in range(SEEDS)]
    assert [v.status for v in found].count("FAIL") >= SEEDS - 1
    assert np.median([v.numbers["p_random"] for v in found]) > 0.1
    for seed in range(SEEDS):
        draws = case(the_prior, seed)[2]
        value = common.contraction(draws, PRIOR_SD**2)
        assert contraction.check(value, list("abcd"), "", "").status == "WARN"


def test_contraction_and_z_scores_of_the_exact_posterior():
    theta, _, draws, _ = case(exact, 0)
    value = common.contraction(draws, PRIOR_SD**2)
    assert np.allclose(value, 0.5, atol=0.02)
    assert contraction.check(value, list("abcd"), "", "").status == "PASS"
    here = np.where(np.arange(4) == 2, -1.0, value)
    told = contraction.check(value, list("abcd"), "", "", here=here)
    assert told.status == "WARN" and "nearly nothing about c (-100%)" in told.evidence and told.remedy
    assert 0.85 < np.sqrt((contraction.z_scores(theta, draws) ** 2).mean()) < 1.15


def correlated(seed, rho, claimed):
    rng = np.random.default_rng(seed)
    x = 3 * rng.standard_normal((SIMULATIONS, 3))
    root, other = (np.linalg.cholesky(r + (1 - r) * np.eye(3)) for r in (rho, claimed))
    theta = x + rng.standard_normal(x.shape) @ root.T
    return theta, x[:, None] + rng.standard_normal((len(x), DRAWS, 3)) @ other.T, rng


def test_a_wrong_dependence_passes_by_parameter_and_fails_by_pair():
    alone, pairs = [], []
    for seed in range(SEEDS):
        theta, draws, rng = correlated(seed, 0.6, 0.0)
        alone.append(sbc.check(theta, draws, rng).status)
        pairs.append(sbc.check_pairs(theta, draws, rng))
    assert alone.count("PASS") >= SEEDS - 1
    assert [v.status for v in pairs].count("FAIL") >= SEEDS - 1
    assert all("more positively" in v.evidence for v in pairs if v.status == "FAIL")
    right = [sbc.check_pairs(*correlated(seed, 0.6, 0.6)).status for seed in range(SEEDS)]
    assert right.count("PASS") >= SEEDS - 1 and "FAIL" not in right


def test_a_shift_of_all_parameters_that_none_shows_alone():
    """A seventh of a posterior sd each: too little for any of twelve, plain in all together."""
    rng = np.random.default_rng(8)
    theta, draws = rng.standard_normal((200, 12)), rng.standard_normal((200, 400, 12))
    alone = min(uniformity(u).p for u in pit(theta, draws + 0.15, rng).T)
    verdict = sbc.check(theta, draws + 0.15, rng)
    assert 2 * 12 * alone > 0.01
    assert verdict.status == "FAIL" and "all together are biased" in verdict.evidence
    assert verdict.numbers["p_together"] < 1e-4 and "clipped" in verdict.remedy


@pytest.mark.parametrize("kind", ["independent", "a ridge", "both signs, heavy tails", "discrete"])
def test_the_test_of_a_common_shift_alarms_as_often_as_it_says(kind):
    rng = np.random.default_rng(9)
    p = []
    for _ in range(250):
        z = rng.standard_normal((40, 101, 4))
        if kind == "a ridge":
            z = z[..., :1] + 1e-3 * z
        elif kind == "both signs, heavy tails":
            z = z[..., :1] * rng.choice([-1.0, 1.0], (40, 1, 4)) + 0.3 * z
            z /= np.sqrt(rng.chisquare(3, (40, 101, 1)) / 3)
        elif kind == "discrete":
            z = np.round(0.7 * z)
        p.append(shift_together(pit(z[:, 0], z[:, 1:], rng), z[:, 1:], rng))
    for a in (0.05, 0.2, 0.5):
        assert abs((np.array(p) <= a).mean() - a) < 4 * np.sqrt(a * (1 - a) / len(p)), a


@pytest.mark.parametrize("dim", [1, 12])
def test_any_number_of_parameters(dim):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, dim))
    theta, draws = x + rng.standard_normal((60, dim)), x[:, None] + rng.standard_normal((60, 80, dim))
    assert sbc.check(theta, draws, rng).status == "PASS"
    verdict = coverage.check(theta, draws, rng, [f"p{i}" for i in range(dim)])
    assert verdict.status == "PASS" and verdict.curves["coverage"].shape[0] == dim


def test_discrete_parameters_with_ties_pass():
    rng = np.random.default_rng(5)
    theta, draws = rng.integers(3, size=(300, 2)), rng.integers(3, size=(300, 100, 2))
    assert sbc.check(theta.astype(float), draws.astype(float), rng).status == "PASS"


# -- the test of uniformity itself ---------------------------------------------------------------


@pytest.mark.parametrize("m", [20, 57, 200])
def test_the_band_holds_uniform_ecdfs_as_often_as_it_says(m):
    rng = np.random.default_rng(m)
    z, (low, high) = points(m), band(m, 0.05)
    left = [((f < low) | (f > high)).any()
            for f in (ecdf(rng.random(m), z) for _ in range(4000))]
    assert 0.02 < np.mean(left) < 0.065  # exact up to the counts' discreteness


def test_each_p_value_is_uniform_under_the_null():
    rng = np.random.default_rng(0)
    found = [uniformity(rng.random(100)) for _ in range(600)]
    for name in ("p_shape", "p_shift", "p_spread"):
        p = np.array([getattr(t, name) for t in found])
        for a in (0.05, 0.2, 0.5):
            assert abs((p <= a).mean() - a) < 4 * np.sqrt(a * (1 - a) / len(p)), (name, a)
    assert np.mean([t.p <= 0.05 for t in found]) < 0.08


def test_ranks_are_uniform_for_any_number_of_draws():
    rng = np.random.default_rng(1)
    for n in (1, 5, 50):
        u = pit(rng.standard_normal((4000, 1)), rng.standard_normal((4000, n, 1)), rng)
        assert uniformity(u[:, 0]).p > 0.001 and u.min() > 0 and u.max() < 1


@pytest.mark.slow
def test_false_alarms_over_400_exact_posteriors():
    """At most 1 % WARN or worse and 0.05 % FAIL by design; Bonferroni keeps it under."""
    found = {"sbc": [], "coverage": [], "tarp": [], "pairs": []}
    for seed in range(400):
        theta, x, draws, rng = case(exact, 1000 + seed)
        for check, name in ((by_sbc, "sbc"), (by_coverage, "coverage"), (by_tarp, "tarp"),
                            (by_pairs, "pairs")):
            found[name].append(check(theta, x, draws, rng).status)
    rates = {k: (np.mean([s != "PASS" for s in v]), v.count("FAIL")) for k, v in found.items()}
    print(rates)
    for alarms, failures in rates.values():
        assert alarms <= 0.025 and failures <= 2


def ridge(rho, claimed, seed, m=200, n=400):
    """Truths of correlation rho about their posteriors' means, and draws of the claimed one."""
    r = np.random.default_rng(seed)
    true, said = (np.linalg.cholesky([[1, c], [c, 1]]) for c in (rho, claimed))
    mean = 3 * r.standard_normal((m, 2))
    return sbc.check_pairs(mean + r.standard_normal((m, 2)) @ true.T,
                           mean[:, None] + r.standard_normal((m, n, 2)) @ said.T, r, ["a", "b"])


@pytest.mark.parametrize("claimed, how", [(0.99, "too wide"), (0.9999, "too narrow")])
def test_a_ridge_of_the_wrong_width_fails(claimed, how):
    for seed in range(3):
        verdict = ridge(0.999, claimed, seed)
        assert verdict.status == "FAIL" and how in verdict.evidence and "axis" in verdict.evidence
    assert [ridge(0.999, 0.999, 10 + seed).status for seed in range(20)].count("PASS") >= 19
