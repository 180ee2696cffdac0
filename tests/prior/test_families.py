"""Every family against scipy's law, by quadrature, by draws and through its maps."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats as st
from numpy.testing import assert_allclose

from inferkit import prior as ik
from inferkit.prior import bijections
from inferkit.prior.config import FAMILIES
from inferkit.prior.truncated import log_mass
from tests.prior.cases import CASES, CONTINUOUS, DISCRETE, points

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
continuous = pytest.mark.parametrize("case", CONTINUOUS.values(), ids=CONTINUOUS)
discrete = pytest.mark.parametrize("case", DISCRETE.values(), ids=DISCRETE)


def test_the_table_covers_all_families():
    assert set(FAMILIES) - {c.record.family for c in CASES.values()} == {"multivariate_normal"}


@every
def test_density_and_distribution_are_scipys(case):
    x, ref = points(case), case.reference
    log_p = ref.logpmf(x) if case.record.discrete else ref.logpdf(x)
    assert_allclose(case.record.log_prob(x), log_p, rtol=1e-10, atol=1e-12)
    assert_allclose(case.record.cdf(x), ref.cdf(x), rtol=case.cdf_rtol, atol=1e-300)
    q = np.linspace(0.001, 0.999, 41)
    assert_allclose(case.record.ppf(q), ref.ppf(q), rtol=1e-9)


@every
def test_nothing_off_the_support(case):
    low, high = case.record.support
    outside = np.array([v for v in (low - 1e-3, high + 1e-3) if np.isfinite(v)] + [np.nan, np.inf])
    assert (case.record.log_prob(outside) == -np.inf).all()
    assert not case.record.contains(outside).any()
    assert case.record.contains(points(case)).all()
    assert np.isnan(case.record.ppf(np.array([-0.1, 1.1]))).all()


@every
def test_draws_follow_the_law(case):
    x = case.record.sample(4000, np.random.default_rng(7))
    assert x.shape == (4000,) and case.record.contains(x).all()
    if case.record.discrete:
        values, counts = np.unique(x, return_counts=True)
        expected = case.reference.pmf(values)
        keep = expected * 4000 > 8
        assert (
            st.chisquare(
                counts[keep], expected[keep] / expected[keep].sum() * counts[keep].sum()
            ).pvalue
            > 1e-3
        )
    else:
        assert st.kstest(x, case.reference.cdf).pvalue > 1e-3
    assert_allclose(x, case.record.sample(4000, np.random.default_rng(7)), rtol=0)


@continuous
def test_the_density_has_mass_one(case):
    """Quadrature in unconstrained space: tests the density and the Jacobian together."""
    b = case.record.bijection

    def integrand(u):
        u = np.atleast_1d(u)
        return float(np.exp(case.record.log_prob(b.inverse(u)) + b.log_jacobian(u))[0])

    middle = float(b.forward(np.array([case.reference.median()]))[0])
    mass = sum(
        scipy.integrate.quad(integrand, *side, limit=400, epsabs=1e-11)[0]
        for side in ((-np.inf, middle), (middle, np.inf))
    )
    assert_allclose(mass, 1.0, rtol=2e-6)


@continuous
def test_bijection_round_trip_and_jacobian(case):
    x, b = points(case), case.record.bijection
    u = b.forward(x)
    assert (np.diff(u) > 0).all()
    assert_allclose(b.inverse(u), x, rtol=1e-9)
    u = np.clip(u, -12, 12)
    h = 1e-5
    with np.errstate(all="ignore"):
        slope = (b.inverse(u + h) - b.inverse(u - h)) / (2 * h)
    sure = slope > 1e-4 * np.abs(x) * h  # differences need digits left
    assert sure.any()
    assert_allclose(np.log(slope[sure]), b.log_jacobian(u)[sure], atol=2e-5)


@continuous
def test_far_out_the_map_stays_in_the_support(case):
    b = case.record.bijection
    u = np.array([-1e4, -745.0, -60.0, 60.0, 745.0, 1e4])
    x = b.inverse(u)
    assert case.record.contains(x).all()
    assert np.isfinite(b.forward(x)).all()
    assert np.isfinite(b.log_jacobian(u)).all()


@every
def test_unit_cube_round_trip(case):
    # Above the middle a number next to 1 has no digits left for the tail
    x = points(case)
    x = x[(case.reference.cdf(x) < 0.99) & (case.reference.cdf(x) > 1e-250)]
    assert_allclose(case.record.ppf(case.record.cdf(x)), x, rtol=2e-9)


@every
def test_vectors_are_independent_elements(case):
    config = case.record.to_config()
    config.pop("family")
    vector = type(case.record)(**config, shape=(2, 3))
    x = vector.sample(50, np.random.default_rng(0))
    assert x.shape == (50, 2, 3)
    each = sum(case.record.log_prob(x[:, i, j]) for i in range(2) for j in range(3))
    assert_allclose(vector.log_prob(x), each)
    assert vector.cdf(x).shape == x.shape
    if not vector.discrete:
        assert_allclose(vector.bijection.inverse(vector.bijection.forward(x)), x, rtol=1e-9)


@discrete
def test_discrete_families_stay_as_they_are(case):
    x = points(case)
    assert (case.record.bijection.forward(x) == x).all()
    assert (case.record.bijection.log_jacobian(x) == 0).all()


def test_array_arguments_give_the_shape():
    n = ik.Normal([0.0, 1.0, 2.0], 1.0)
    assert n.shape == (3,)
    assert_allclose(n.log_prob([[0.0, 1.0, 2.0]]), 3 * st.norm.logpdf(0))
    assert ik.Uniform(0, [[1.0], [2.0]], shape=(2, 4)).shape == (2, 4)
    assert ik.Normal(0, 1, shape=3).shape == (3,)


def test_mixed_limits():
    t = ik.TruncatedNormal(
        0.0, 1.0, low=[-np.inf, 0.0, -1.0, -np.inf], high=[np.inf, np.inf, 1.0, 2]
    )
    x = t.sample(200, np.random.default_rng(0))
    b = t.bijection
    assert isinstance(b, bijections.Mixed)
    u = b.forward(x)
    assert_allclose(b.inverse(u), x, rtol=1e-9)
    h = 1e-6
    slope = (b.inverse(u + h) - b.inverse(u - h)) / (2 * h)
    assert_allclose(np.log(slope), b.log_jacobian(u), atol=1e-6)


def test_normal_mass_far_out_and_narrow():
    import math

    exact = {  # erfc differences with exact arithmetic by series: 50-digit references
        (0.0, 1e-9): math.log(1e-9 / math.sqrt(2 * math.pi)),
        (-np.inf, np.inf): 0.0,
        (-1.0, 1.0): math.log(math.erf(1 / math.sqrt(2))),
    }
    for (a, b), log_p in exact.items():
        assert_allclose(log_mass(a, b), log_p, rtol=1e-14, atol=1e-15)
    assert log_mass(40.0, 41.0) == log_mass(-41.0, -40.0)
    assert_allclose(log_mass(40.0, np.inf), st.norm.logsf(40.0), rtol=1e-13)
    # narrow and wide formulas agree where one gives way to the other
    a = np.linspace(-8, 8, 400)
    split = np.logaddexp(log_mass(a, a + 0.11), log_mass(a + 0.11, a + 2.3))
    assert_allclose(log_mass(a, a + 2.3), split, rtol=1e-13, atol=1e-13)


def test_truncated_normal_in_a_narrow_tail():
    t = ik.TruncatedNormal(0.0, 1.0, low=5.0, high=5.0001)
    q = np.linspace(0.0, 1.0, 11)
    assert_allclose(t.cdf(t.ppf(q)), q, atol=1e-10)
    assert_allclose(np.exp(t.log_prob(np.array([5.00005]))), 1e4, rtol=1e-3)


@pytest.mark.parametrize("df", [1e3, 1e8, 1e12])
def test_student_t_of_many_degrees_is_normal(df):
    x = np.linspace(-5, 5, 21)
    assert_allclose(ik.StudentT(df).log_prob(x), st.norm.logpdf(x), atol=200 / df + 1e-13)


def test_multivariate_normal():
    mean, cov = (
        np.array([1.0, -2.0, 0.5]),
        np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 1]]),
    )
    m = ik.MultivariateNormal(mean, cov)
    ref = st.multivariate_normal(mean, cov)
    x = m.sample(20_000, np.random.default_rng(3))
    assert m.shape == (3,)
    assert_allclose(m.log_prob(x), ref.logpdf(x), rtol=1e-12)
    assert_allclose(x.mean(0), mean, atol=0.05)
    assert_allclose(np.cov(x.T), cov, atol=0.06)
    u = m.cdf(x)
    assert_allclose(m.ppf(u), x, rtol=1e-9, atol=1e-9)
    assert all(st.kstest(u[:, i], "uniform").pvalue > 1e-3 for i in range(3))
    assert abs(np.corrcoef(u.T) - np.eye(3)).max() < 0.03
    assert m.log_prob(np.array([[np.nan, 0, 0], [np.inf, 0, 0]])).tolist() == [-np.inf] * 2


def test_log_normal_is_written_by_its_median():
    x = ik.LogNormal(3.0, 0.5).sample(20_001, np.random.default_rng(0))
    assert_allclose(np.median(x), 3.0, rtol=0.02)
    assert_allclose(np.log(x).std(), 0.5, rtol=0.02)


def test_records_are_frozen_equal_by_value_and_hashable():
    assert ik.Normal(0, 1) == ik.Normal(0.0, 1.0) != ik.Normal(0, 1, unit="mV")
    assert len({ik.Normal([0, 1], 1), ik.Normal([0.0, 1.0], 1)}) == 1
    with pytest.raises(AttributeError):
        ik.Normal(0, 1).loc = 3
    with pytest.raises(ValueError):
        ik.Normal([0, 1], 1).loc[0] = 3
    assert repr(ik.Normal(0, 1, unit="mV", shape=(2,))) == (
        "Normal(loc=0, scale=1, shape=(2,), unit='mV')"
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "heavy",
    [
        ik.Gamma(0.01, 1),
        ik.Beta(0.01, 0.01),
        ik.InverseGamma(0.01, 1),
        ik.StudentT(0.1),
        ik.LogNormal(1, 50),
        ik.LogUniform(1e-300, 1e300),
        ik.LogUniform(1.0, 1.0 + 1e-12),
    ],
    ids=str,
)
def test_extreme_laws_stay_finite(heavy):
    x = heavy.sample(5000, np.random.default_rng(0))
    assert np.isfinite(x).all() and np.isfinite(heavy.log_prob(x)).all()
    b = heavy.bijection
    assert_allclose(b.inverse(b.forward(x)), x, rtol=1e-9)
