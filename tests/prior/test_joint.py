"""The joint prior: views, maps, bounds, tables, conditioning, imports."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats as st
from hypothesis import given, settings
from hypothesis import strategies as hs
from hypothesis.extra import numpy as hn
from numpy.testing import assert_allclose

from inferkit import prior as ik
from inferkit.errors import PriorError
from inferkit.protocols import Prior as Protocol
from tests.prior.cases import CASES


def mixed(**more):
    return ik.Prior(
        {
            "coupling.a": ik.Uniform(0.1, 1.0),
            "model.eta": ik.Normal(-5.0, 0.3, unit="mV"),
            "w": ik.Normal(0, 1, shape=(3,)),
            "k": ik.Choice([1, 2, 5]),
            "pair": ik.MultivariateNormal([0, 0], [[1, 0.5], [0.5, 1]]),
            "tau": st.weibull_min(2.0),
            "sd": ik.HalfNormal(1.0),
            "x": ik.Normal("model.eta", "sd", unit="mV"),
        },
        **more,
    )


def rng(seed=0):
    return np.random.default_rng(seed)


def test_names_units_and_views():
    p = mixed()
    assert isinstance(p, Protocol)
    assert p.names == (
        *("coupling.a", "model.eta", "w[0]", "w[1]", "w[2]", "k"),
        *("pair[0]", "pair[1]", "tau", "sd", "x"),
    )
    assert p.dim == 11 and p.units["model.eta"] == "mV" and p.units["w[1]"] == ""
    assert p.parameters["w"] == ((3,), "")
    assert np.flatnonzero(p.discrete).tolist() == [5]
    theta = p.sample(7, rng())
    assert list(theta) == list(p.parts) and theta["w"].shape == (7, 3)
    assert_allclose(p.log_prob(theta), p.log_prob_matrix(p.pack(theta)))
    assert p.support_contains(p.pack(theta)).all()
    assert all(len(v) == 0 for v in p.sample(0, rng()).values())
    assert "model.eta   Normal(loc=-5, scale=0.3)  [mV]" in repr(p)


def test_log_prob_is_the_sum_of_conditionals():
    p = mixed()
    t = p.sample(200, rng())
    parts = [
        st.uniform(0.1, 0.9).logpdf(t["coupling.a"]),
        st.norm(-5, 0.3).logpdf(t["model.eta"]),
        st.norm.logpdf(t["w"]).sum(1),
        np.full(200, -np.log(3)),
        st.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]]).logpdf(t["pair"]),
        st.weibull_min(2.0).logpdf(t["tau"]),
        st.halfnorm.logpdf(t["sd"]),
        st.norm.logpdf(t["x"], t["model.eta"], t["sd"]),
    ]
    assert_allclose(p.log_prob(t), sum(parts), rtol=1e-12)


def test_maps_round_trip():
    p = mixed()
    m = p.pack(p.sample(500, rng()))
    values, log_det = p.from_unconstrained(p.to_unconstrained(m))
    assert_allclose(values, m, rtol=1e-9)
    assert_allclose(p.from_unit(p.to_unit(m)), m, rtol=1e-8, atol=1e-12)
    u = p.to_unconstrained(m)
    assert_allclose(p.log_prob_unconstrained(u), p.log_prob_matrix(m) + log_det, rtol=1e-12)


def test_the_determinant_against_finite_differences():
    p = ik.Prior(
        {
            "lo": ik.Normal(0, 1),
            "w": ik.Gamma(2.0, 1.0),
            "x": ik.Uniform("lo", "lo + w"),
            "v": ik.LogNormal("w", 0.3, shape=(2,)),
        }
    )
    u = p.to_unconstrained(p.pack(p.sample(20, rng())))
    h = 1e-6
    steps = [
        p.from_unconstrained(u + h * e)[0] - p.from_unconstrained(u - h * e)[0] for e in np.eye(5)
    ]
    jacobian = np.stack(steps, axis=-1) / (2 * h)
    assert_allclose(np.linalg.slogdet(jacobian)[1], p.from_unconstrained(u)[1], atol=1e-6)


def test_the_cube_is_uniform_and_gives_the_prior():
    p = mixed()
    u = p.to_unit(p.pack(p.sample(4000, rng(1))))
    for j in np.flatnonzero(~p.discrete):
        assert st.kstest(u[:, j], "uniform").pvalue > 1e-3
    m = p.from_unit(rng(2).random((4000, p.dim)))
    assert st.kstest((m[:, 10] - m[:, 1]) / m[:, 9], "norm").pvalue > 1e-3
    assert np.isfinite(p.from_unit(np.array([[0.0] * p.dim, [1.0] * p.dim]))).all()


def test_off_the_support():
    p = mixed()
    m = p.pack(p.sample(6, rng()))
    m[0, 0], m[1, 9], m[2, 5], m[3, 4], m[4, 10] = 2.0, -1.0, 3.0, np.nan, np.inf
    off = [True] * 5 + [False]
    assert (p.log_prob_matrix(m) == -np.inf).tolist() == off
    assert (~p.support_contains(m)).tolist() == off
    u = p.to_unconstrained(m)
    assert np.isnan(u).any(axis=1).tolist() == off
    assert np.isnan(u[0, 0]) and np.isfinite(u[0, 1])


def test_a_sampler_far_out_meets_no_exception():
    p = mixed()
    u = rng().normal(size=(50, p.dim)) * 1e3
    log_p = p.log_prob_unconstrained(u)
    assert not np.isnan(log_p).any()


def test_bounds():
    p = ik.Prior(
        {
            "a": ik.Uniform(0.1, 1.0),
            "b": ik.Uniform(0, "a"),
            "c": ik.Gamma("a", 1.0),
            "d": ik.TruncatedNormal(0, 1, low=[0.0, -1.0]),
        }
    )
    inf = np.inf
    assert p.bounds().tolist() == [[0.1, 1], [0, inf], [0, inf], [0, inf], [-1, inf]]


@pytest.mark.parametrize("name", ["normal", "gamma", "beta", "choice", "scipy", "exponential"])
def test_mean_std_and_describe(name):
    case = CASES[name]
    p = ik.Prior({"a": case.record})
    mean, std = p.mean_std()
    assert_allclose(mean[0], case.reference.mean(), rtol=2e-3)
    assert_allclose(std[0], case.reference.std(), rtol=1e-2)
    row = p.describe()[0]
    assert (row.name, row.unit) == ("a", "") and row.family == case.record.text
    assert_allclose([row.q05, row.q95], case.reference.ppf([0.05, 0.95]), rtol=2e-3)


finite = hs.floats(-1e300, 1e300)
shapes_of_one = hs.sampled_from([(), (1,), (3,), (2, 2)])


@settings(max_examples=40, deadline=None)
@given(hs.data(), hs.integers(0, 5), hs.lists(shapes_of_one, min_size=1, max_size=4))
def test_pack_and_unpack_are_inverse(data, n, shapes):
    p = ik.Prior({f"p{i}": ik.Normal(0, 1, shape=s) for i, s in enumerate(shapes)})
    theta = {
        f"p{i}": data.draw(hn.arrays(np.float64, (n, *s), elements=finite))
        for i, s in enumerate(shapes)
    }
    m = p.pack(theta)
    assert m.shape == (n, p.dim) and m.dtype == np.float64
    for name, values in p.unpack(m).items():
        assert values.tobytes() == theta[name].tobytes()
    assert p.pack(p.unpack(m)).tobytes() == m.tobytes()


def test_order_of_keys_does_not_matter_for_pack():
    p = mixed()
    theta = p.sample(3, rng())
    assert (p.pack(dict(reversed(theta.items()))) == p.pack(theta)).all()


def test_draws_depend_on_the_generator_alone():
    p = mixed(constraint="w[0] < w[1]")
    a, b = (
        p.pack(p.sample(100, rng(5))),
        mixed(constraint="w[0] < w[1]").pack(p.sample(100, rng(5))),
    )
    assert (a == b).all()
    assert (p.pack(p.sample(100, rng(6))) != a).any()


def test_pickle_and_equality():
    p = mixed(constraint="w[0] < w[1]")
    q = pickle.loads(pickle.dumps(p))
    assert q == p == mixed(constraint="w[0] < w[1]") != mixed()
    assert len({p, q}) == 1
    ab = ik.Prior({"a": ik.Normal(0, 1), "b": ik.Normal(0, 1)})
    assert ab != ik.Prior({"b": ik.Normal(0, 1), "a": ik.Normal(0, 1)})  # columns differ


def test_condition_drops_independent_parts_exactly():
    p = ik.Prior({"a": ik.Normal(0, 1), "b": ik.Gamma(2, 1), "w": ik.Normal(0, 1, shape=(2,))})
    assert p.condition({"a": 1.0}) == ik.Prior(
        {"b": ik.Gamma(2, 1), "w": ik.Normal(0, 1, shape=(2,))}
    )
    assert p.condition({"w": [0.0, 1.0]}).names == ("a", "b")


def test_condition_gives_children_their_parents_value():
    p = mixed()
    q = p.condition({"model.eta": -4.0, "sd": 0.5})
    t = q.sample(50, rng())
    assert_allclose(
        q.log_prob(t) - q.condition({"x": -4.1}).log_prob({k: v for k, v in t.items() if k != "x"}),
        st.norm(-4.0, 0.5).logpdf(t["x"]),
    )
    full = {**t, "model.eta": np.full(50, -4.0), "sd": np.full(50, 0.5)}
    known = st.norm(-5, 0.3).logpdf(-4.0) + st.halfnorm.logpdf(0.5)
    assert_allclose(p.log_prob(full), q.log_prob(t) + known)
    assert ik.Prior.from_config(q.to_config()) == q and "given sd = 0.5" in repr(q)


def test_condition_with_a_constraint_is_normalised_anew():
    p = ik.Prior({"a": ik.Normal(0, 1), "b": ik.Uniform(0, 1)}, constraint="b > a")
    q = p.condition({"a": 0.75})
    rate, error, _ = q.acceptance
    assert abs(rate - 0.25) < 3 * error
    assert_allclose(q.log_prob({"b": np.array([0.8, 0.7])}), [np.log(4), -np.inf], atol=0.03)
    done = p.condition({"b": 0.5})
    assert (done.sample(100, rng())["a"] < 0.5).all()


def test_condition_refuses_what_is_inference():
    p = mixed()
    with pytest.raises(PriorError, match="x depends on model.eta, sd, which stay unknown"):
        p.condition({"x": 1.0})
    with pytest.raises(PriorError, match="no density under Uniform"):
        p.condition({"coupling.a": 3.0})
    with pytest.raises(PriorError, match="give all of w"):
        p.condition({"w[0]": 1.0})
    with pytest.raises(PriorError, match="unknown parameter 'sdd'"):
        p.condition({"sdd": 1.0})
    with pytest.raises(PriorError, match="no parameter is left"):
        ik.Prior({"a": ik.Normal(0, 1)}).condition({"a": 0.0})
    with pytest.raises(PriorError, match="does not hold at the fixed values"):
        ik.Prior({"a": ik.Normal(0, 1), "b": ik.Normal(0, 1)}, constraint=["a > 0"]).condition(
            {"a": -1.0}
        )


def test_importing_the_prior_imports_no_backend():
    code = (
        "import sys, inferkit.prior as p\n"
        "q = p.Prior({'a': p.Uniform(0, 1), 'b': p.Normal(0, 1, shape=(2,))})\n"
        "print([m for m in ('scipy', 'torch', 'jax', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
