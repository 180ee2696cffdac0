"""Hierarchical priors and the expressions that write them."""

import numpy as np
import pytest
import scipy.stats as st
from numpy.testing import assert_allclose

from inferkit import prior as ik
from inferkit.errors import PriorError
from inferkit.prior.expressions import parse

HYPER = {"mu": ik.Normal(1.0, 2.0), "sd": ik.Gamma(4.0, 0.25)}
FORMS = {
    "expression": ik.Normal("mu", "sd"),
    "function": ik.Given(lambda p: ik.Normal(p["mu"], p["sd"]), parents=("mu", "sd")),
    "wrapped": ik.Given(ik.Normal("mu", "sd")),
    "scipy": ik.Given(lambda p: st.norm(p["mu"], p["sd"]), parents=("mu", "sd")),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_moments_and_density(form):
    p = ik.Prior({"x": form, **HYPER})  # the child first: order is the graph's, columns the dict's
    assert p.names == ("x", "mu", "sd")
    t = p.sample(40_000, np.random.default_rng(0))
    second = 4.0 * 0.25**2 * (4.0 + 1)  # E sd^2
    var = 2.0**2 + second
    assert abs(t["x"].mean() - 1.0) < 4 * np.sqrt(var / 40_000)
    assert_allclose(t["x"].var(), var, rtol=0.03)
    assert_allclose(np.cov(t["x"], t["mu"])[0, 1], 4.0, rtol=0.05)
    expected = (
        st.norm(1, 2).logpdf(t["mu"])
        + st.gamma(4, scale=0.25).logpdf(t["sd"])
        + st.norm.logpdf(t["x"], t["mu"], t["sd"])
    )
    assert_allclose(p.log_prob(t), expected, rtol=1e-11)
    m = p.pack(t)[:200]
    assert_allclose(p.from_unconstrained(p.to_unconstrained(m))[0], m, rtol=1e-9)
    assert_allclose(p.from_unit(p.to_unit(m)), m, rtol=1e-8)


CHILDREN = {
    "uniform": (ik.Uniform("a", "a + b"), lambda a, b: st.uniform(a, b)),
    "log_uniform": (ik.LogUniform("b", "b + 2"), lambda a, b: st.loguniform(b, b + 2)),
    "log_normal": (ik.LogNormal("b", "b"), lambda a, b: st.lognorm(b, scale=b)),
    "half_normal": (ik.HalfNormal("b"), lambda a, b: st.halfnorm(0, b)),
    "gamma": (ik.Gamma("b", 2), lambda a, b: st.gamma(b, scale=2)),
    "inverse_gamma": (ik.InverseGamma(3, "b"), lambda a, b: st.invgamma(3, scale=b)),
    "beta": (ik.Beta("b", 2), lambda a, b: st.beta(b, 2)),
    "exponential": (ik.Exponential("exp(a)"), lambda a, b: st.expon(scale=np.exp(a))),
    "student_t": (ik.StudentT("b", "a", "b"), lambda a, b: st.t(b, a, b)),
    "truncated_normal": (
        ik.TruncatedNormal("a", "b", low="a - b"),
        lambda a, b: st.truncnorm(-1, np.inf, a, b),
    ),
}


@pytest.mark.parametrize("child, law", CHILDREN.values(), ids=CHILDREN)
@pytest.mark.parametrize("shape", [(), (2,)])
def test_every_family_takes_arguments_by_row(child, law, shape):
    config = {k: v for k, v in child.to_config().items() if k != "family"}
    child = type(child)(**config, shape=shape)
    p = ik.Prior({"a": ik.Normal(0, 1), "b": ik.Uniform(0.5, 2.0), "x": child})
    t = p.sample(300, np.random.default_rng(1))
    a, b = (t[k].reshape(300, *(1,) * len(shape)) for k in "ab")
    base = st.norm.logpdf(t["a"]) - np.log(1.5)
    log_x = law(a, b).logpdf(t["x"]).reshape(300, -1).sum(1)
    assert_allclose(p.log_prob(t), base + log_x, rtol=1e-9, atol=1e-9)
    u = p.to_unit(p.pack(t))[:, 2]
    assert st.kstest(u, "uniform").pvalue > 1e-3
    m = p.pack(t)
    assert_allclose(p.from_unconstrained(p.to_unconstrained(m))[0], m, rtol=1e-9)


def test_vector_children():
    p = ik.Prior(
        {"w": ik.Normal(0, 1, shape=(3,)), "s": ik.Gamma(9, 0.1), "x": ik.Normal("w * 2", "s")}
    )
    assert p.parameters["x"] == ((3,), "")
    t = p.sample(100, np.random.default_rng(0))
    expected = st.norm.logpdf(t["x"], 2 * t["w"], t["s"][:, None]).sum(1)
    expected += st.norm.logpdf(t["w"]).sum(1) + st.gamma(9, scale=0.1).logpdf(t["s"])
    assert_allclose(p.log_prob(t), expected)


def test_multivariate_child():
    def rule(p):
        cov = np.array([[1.0, 0.3], [0.3, 1.0]]) * p["s"][:, None, None]
        return ik.MultivariateNormal(p["m"][:, None] * np.ones(2), cov)

    p = ik.Prior(
        {"m": ik.Normal(0, 1), "s": ik.Uniform(1, 2), "x": ik.Given(rule, parents=("m", "s")),
         "y": ik.MultivariateNormal("m", [[1.0, 0.3], [0.3, 1.0]])}
    )  # fmt: skip
    assert p.parameters["x"] == ((2,), "") == p.parameters["y"]
    t = p.sample(20, np.random.default_rng(0))
    cov = np.array([[1.0, 0.3], [0.3, 1.0]])
    for i in range(20):
        one = {k: v[i : i + 1] for k, v in t.items()}
        m, s = t["m"][i], t["s"][i]
        expected = st.norm.logpdf(m) + st.multivariate_normal([m, m], cov * s).logpdf(t["x"][i])
        expected += st.multivariate_normal([m, m], cov).logpdf(t["y"][i])
        assert_allclose(p.log_prob(one), expected, rtol=1e-10)


def test_one_row_and_chains():
    p = ik.Prior({"c": ik.Normal("b", 0.1), "b": ik.Normal("a", 0.1), "a": ik.Normal(0, 1)})
    t = p.sample(1, np.random.default_rng(0))
    assert p.log_prob(t).shape == (1,)
    assert abs(t["c"] - t["a"]) < 1


def test_rows_at_which_a_child_does_not_exist_have_no_density():
    p = ik.Prior({"s": ik.Exponential(1.0), "x": ik.Normal(0, "s")})
    assert p.log_prob({"s": np.array([1.0, -1.0, 1.0]), "x": np.zeros(3)})[1] == -np.inf
    q = ik.Prior({"s": ik.Exponential(1.0), "x": ik.Given(lambda p: ik.Normal(0, p["s"]), "s")})
    log_p = q.log_prob({"s": np.array([1.0, 0.0, 1.0]), "x": np.zeros(3)})  # 0 is in the support
    assert np.isfinite(log_p).tolist() == [True, False, True]


def test_an_improper_child_is_an_error_when_the_prior_is_made():
    with pytest.raises(PriorError, match=r"x: Normal: scale is -.*places") as e:
        ik.Prior({"s": ik.Normal(0, 1), "x": ik.Normal(0, "s")})
    assert "scale > 0" in str(e.value)
    with pytest.raises(PriorError, match="x: Uniform: the bounds are reversed"):
        ik.Prior({"s": ik.Normal(0, 1), "x": ik.Given(lambda p: ik.Uniform(0, p["s"]), "s")})


def test_graph_errors():
    with pytest.raises(PriorError, match="cycle: a -> c -> b -> a"):
        ik.Prior({"a": ik.Normal("c", 1), "b": ik.Normal("a", 1), "c": ik.Normal("b", 1)})
    with pytest.raises(PriorError, match="x depends on 'muu', which is not in the prior") as e:
        ik.Prior({"mu": ik.Normal(0, 1), "x": ik.Normal("muu", 1)})
    assert "did you mean 'mu'?" in str(e.value)
    with pytest.raises(PriorError, match="'w\\[3\\]' is out of range|w\\[3\\] in"):
        ik.Prior({"w": ik.Normal(0, 1, shape=(3,)), "x": ik.Normal("w[3]", 1)})
    with pytest.raises(PriorError, match="reads 'sd', which is not among its parents") as e:
        ik.Prior({**HYPER, "x": ik.Given(lambda p: ik.Normal(p["mu"], p["sd"]), parents="mu")})
    assert "parents=('mu', 'sd')" in str(e.value)
    with pytest.raises(PriorError, match="is a condition"):
        ik.Prior({"mu": ik.Normal(0, 1), "x": ik.Normal("mu > 0", 1)})
    with pytest.raises(PriorError, match="Given's function returned 3"):
        ik.Prior({"mu": ik.Normal(0, 1), "x": ik.Given(lambda p: 3, "mu")})
    with pytest.raises(PriorError, match="not a function"):
        ik.Given(3, "mu")
    with pytest.raises(PriorError, match="put it in a Prior"):
        ik.Normal("mu", 1).sample(3, np.random.default_rng(0))


THETA = {"a.b": np.array([1.0, 2.0]), "c": np.array([3.0, 4.0]), "w": np.array([[1.0, 2], [5, -6]])}


@pytest.mark.parametrize(
    "text, value",
    [
        ("a.b + 2 * c", [7, 10]),
        ("-a.b ** 2 / c", [-1 / 3, -1]),
        ("w[0] - w[1]", [-1, 11]),
        ("w[-1]", [2, -6]),
        ("max(w)", [2, 5]),
        ("min(a.b, c, 1.5)", [1, 1.5]),
        ("max(w[0], c)", [3, 5]),
        ("exp(log(c)) + sqrt(abs(-c * c))", [6, 8]),
        ("a.b * w", [[1, 2], [10, -12]]),
        ("0 < a.b < 2", [True, False]),
        ("a.b == 1 or c >= 4 and not w[0] != 5", [True, True]),
        ("not a.b > 1", [True, False]),
    ],
)
def test_expressions(text, value):
    assert_allclose(parse(text)(THETA), value)


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "a.__class__()", "(lambda: 0)()", "[a]", "a if b else c", "open(a)", "'x'",
     "a @ b", "w[0:2]", "w[a]", "exp(a, b)", "a b", "", "1j", "f'{a}'", "a := 1", "True"],
)  # fmt: skip
def test_expressions_refuse_everything_else(text):
    with pytest.raises(PriorError, match="expression"):
        parse(text)
