# ruff: noqa: E501 - the tables of bad inputs read better a line each
"""Study files, families of plugins, and what a wrong input is told."""

import json
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats as st
import tomli_w
from numpy.testing import assert_allclose

from inferkit import plugins
from inferkit import prior as ik
from inferkit.errors import PluginError, PriorError
from inferkit.plugins import PriorSpec
from tests.prior.cases import CASES

WRITABLE = {k: c.record for k, c in CASES.items()}
WRITABLE |= {
    "mvn": ik.MultivariateNormal([0, 0], [[1, 0.5], [0.5, 1]], unit="nA"),
    "vector": ik.TruncatedNormal([0.0, 1.0], 1.0, low=[-np.inf, 0.0], unit="mV"),
    "shape": ik.Normal(0, 1, shape=(2, 2)),
    "scipy_vector": ik.Scipy(st.norm([0.0, 1.0], scale=2.0)),
    "infinite": ik.TruncatedNormal(0, 1, low=0.0, high=np.inf),
}


@pytest.mark.parametrize("record", WRITABLE.values(), ids=WRITABLE)
def test_round_trips(record):
    p = ik.Prior({"coupling.a": record, "w": ik.Normal(0, 1, shape=(2,))}, constraint="w[0] < w[1]")
    config = p.to_config()
    for text in (
        json.loads(json.dumps(config, allow_nan=False)),
        tomllib.loads(tomli_w.dumps(config)),
    ):
        back = ik.Prior.from_config(text)
        assert back == p and back.to_config() == config
    t = p.sample(5, np.random.default_rng(0))
    assert_allclose(back.log_prob(t), p.log_prob(t), rtol=0)


def test_dependent_priors_round_trip():
    p = ik.Prior(
        {"m": ik.Normal(0, 1, unit="mV"), "s": ik.Gamma(2, 1), "x": ik.Normal("m + 1", "s")}
    )
    assert p.to_config()["x"] == {"family": "normal", "loc": "m + 1", "scale": "s"}
    assert ik.Prior.from_config(p.to_config()) == p


def test_nested_tables_are_flattened():
    toml = """
    [prior]
    coupling.a = {family="uniform", low=0.1, high=1.0, unit=""}
    "model.eta" = {family="Normal", loc=-5, scale=0.3}
    constraint = "coupling.a > 0.2"
    [prior.deep.er.w]
    family = "log-uniform"
    low = 1.0
    high = 2.0
    shape = [2]
    """
    p = ik.Prior.from_config(tomllib.loads(toml)["prior"])
    assert p.names == ("coupling.a", "model.eta", "deep.er.w[0]", "deep.er.w[1]")
    assert p.to_config()["constraint"] == ["coupling.a > 0.2"]


def test_what_a_file_cannot_hold():
    g = ik.Prior({"m": ik.Normal(0, 1), "x": ik.Given(lambda p: ik.Normal(p["m"], 1), "m")})
    with pytest.raises(PriorError, match="x: a prior given by a Python function") as e:
        g.to_config()
    assert "expressions" in str(e.value)
    assert g == g and g != ik.Prior({"m": ik.Normal(0, 1), "x": ik.Normal("m", 1)})
    with pytest.raises(PriorError, match="is a Python function"):
        ik.Prior({"m": ik.Normal(0, 1)}, constraint=lambda p: p["m"] > 0).to_config()
    own = st.rv_discrete(values=([1, 2], [0.5, 0.5]), name="coin")()
    with pytest.raises(PriorError, match=r"a distribution of your own \(coin\)"):
        ik.Prior({"c": own}).to_config()


BAD_CONFIG = [
    ({"constraints": ["a > 0"]}, "constraints is ['a > 0']", "did you mean 'constraint'?"),
    ({"a": {"family": "unifrm", "low": 0, "high": 1}}, "unknown prior family 'unifrm'", "did you mean 'uniform'?"),
    ({"a": {"family": "uniform", "low": 0, "hi": 1}}, "a: unknown argument of uniform 'hi'", "high, low, shape, unit"),
    ({"a": {"family": "uniform", "low": 0}}, "a: uniform lacks high", "low, high"),
    ({"a": {"family": "uniform", "low": "0.1", "high": 1}}, "low is the text '0.1'", "low=0.1 without quotes"),
    ({"a": {"family": "uniform", "low": True, "high": 1}}, "low is True (bool)", "a number"),
    ({"a": {"low": 0, "high": 1}}, "coupling.a", "the simulator's config"),
    ({"a": 1.5}, "a is the number 1.5, not a distribution", "simulator's config"),
    ({"a": "uniform"}, "a is 'uniform', not a distribution", "a family"),
    ({"a": {}}, "a: {} has no family", "uniform"),
    ({"a": {"family": "scipy", "dist": "weibul_min"}}, "no univariate distribution 'weibul_min'", "weibull_min"),
    ({"a": {"family": "scipy", "dist": "norm", "args": [1, 2, 3, 4]}}, "does not take these arguments", "a:"),
    ({"a": {"family": "normal", "loc": 0, "scale": 1}, "constraint": "b > 0"}, "'b'", "a"),
]  # fmt: skip


@pytest.mark.parametrize("config, what, also", BAD_CONFIG, ids=[b[1] for b in BAD_CONFIG])
def test_bad_configs(config, what, also):
    if what == "coupling.a":
        config, what = (
            {"coupling": {"x": {"family": "uniform", "low": 0, "high": 1}, "a": 1}},
            "coupling.a is",
        )
    with pytest.raises(PriorError) as e:
        ik.Prior.from_config(config)
    assert what in str(e.value) and also in str(e.value)


N = float("nan")
BAD_CALLS = [
    (lambda: ik.Uniform(1, 0), "bounds are reversed: low=1, high=0", "Uniform(low=0, high=1)"),
    (lambda: ik.Uniform(1, 1), "bounds are equal", "low < high"),
    (lambda: ik.Uniform([0, 2], 1), "reversed: low=2, high=1 (in 1 of 2 places)", "low < high"),
    (lambda: ik.Uniform(0, np.inf), "high is inf", "finite"),
    (lambda: ik.LogUniform(0, 1), "low is 0", "low > 0"),
    (lambda: ik.TruncatedNormal(0, 1, 2, 1), "reversed", "TruncatedNormal(low=1, high=2)"),
    (lambda: ik.Normal(N, 1), "loc is nan", "finite"),
    (lambda: ik.Normal(0, -1), "scale is -1", "scale > 0"),
    (lambda: ik.Normal(None, 1), "loc is None (NoneType)", "a number"),
    (lambda: ik.Normal("a b", 1), "cannot read the expression 'a b'", "parameter names"),
    (lambda: ik.Normal([0, "x"], 1), "loc is [0, 'x']", "array of numbers"),
    (lambda: ik.Normal([[1], [1, 2]], 1), "loc is", "array of numbers"),
    (lambda: ik.Normal([0, 1], [1, 2, 3]), "do not fit together", "broadcast"),
    (lambda: ik.Normal([0, 1, 2], 1, shape=(2,)), "do not fit", "broadcast"),
    (lambda: ik.Normal([0, 1], 1, shape=(1,)), "the arguments give (2,)", "shape=(2,)"),
    (lambda: ik.Normal(0, 1, shape=(0,)), "shape is (0,)", "positive lengths"),
    (lambda: ik.Normal(0, 1, shape="x"), "shape is 'x'", "positive lengths"),
    (lambda: ik.Normal(0, 1, unit=3), "unit is 3", '"mV"'),
    (lambda: ik.Gamma(0, 1), "concentration is 0", "concentration > 0"),
    (lambda: ik.Choice([1, 1]), "options occur twice", "once"),
    (lambda: ik.Choice([1, 2], [0.5, 0.6]), "sum to 1.1", "probabilities=[0.454545, 0.545455]"),
    (lambda: ik.Choice([1, 2], [1.0]), "1 probabilities for 2 options", "one an option"),
    (lambda: ik.Choice([1, 2], [-0.5, 1.5]), "probabilities are [-0.5, 1.5]", ">= 0"),
    (lambda: ik.Choice("ab"), "options is the text 'ab'", "numbers"),
    (lambda: ik.Choice(["a", "b"]), "options is ['a', 'b']", "numbers"),
    (lambda: ik.Choice(3), "options is 3", "a list of numbers"),
    (lambda: ik.MultivariateNormal([0, 0], [[1, 2], [2, 1]]), "not positive definite", "-1"),
    (lambda: ik.MultivariateNormal([0, 0], [[1, 2], [0, 1]]), "not symmetric", "cov[j][i]"),
    (lambda: ik.MultivariateNormal([0, 0], [1, 1]), "cov has the shape (2,)", "square"),
    (lambda: ik.MultivariateNormal([0, 0, 0], [[1, 0], [0, 1]]), "do not fit", "broadcast"),
    (lambda: ik.Scipy(st.norm), "dist is", "Scipy(scipy.stats.weibull_min(2.0))"),
    (lambda: ik.Scipy(st.gamma(-1.0)), "scipy refuses", "range"),
    (lambda: ik.Prior({"a": 1.0}), "a is the number 1.0", "simulator's config"),
    (lambda: ik.Prior({"a": (0, 1)}), "a is (0, 1)", "Uniform(0, 1)"),
    (lambda: ik.Prior({"a": ik.Normal}), "not a distribution", "Normal(...)"),
    (lambda: ik.Prior({"a": {"family": "normal"}}), "not a distribution", "from_config"),
    (lambda: ik.Prior({"a": st.norm}), "not a distribution", "freeze it"),
    (lambda: ik.Prior({}), "a prior of {}", "at least one parameter"),
    (lambda: ik.Prior({"w[0]": ik.Normal(0, 1)}), "'w[0]' cannot name", "shape=(3,)"),
    (lambda: ik.Prior({"constraint": ik.Normal(0, 1)}), "cannot name a parameter", "constraint"),
]  # fmt: skip


@pytest.mark.parametrize("call, what, also", BAD_CALLS, ids=[b[1] for b in BAD_CALLS])
def test_bad_calls(call, what, also):
    with pytest.raises(PriorError) as e:
        call()
    assert what in str(e.value) and also in str(e.value)


def test_bad_values():
    p = ik.Prior({"a": ik.Normal(0, 1), "w": ik.Normal(0, 1, shape=(2,))})
    for theta, says in [
        ({"a": [0.0]}, "values lack w"),
        ({"a": [0.0], "w": [[0, 0]], "ww": [0]}, "unknown parameter 'ww'"),
        ({"a": 0.0, "w": [0.0, 0.0]}, "rows first"),
        ({"a": [0.0, 1.0], "w": [[0.0, 0.0]]}, "w has the shape (1, 2)"),
    ]:
        with pytest.raises(PriorError) as e:
            p.pack(theta)
        assert says in str(e.value)
    with pytest.raises(PriorError, match=r"a matrix of the shape \(3, 2\)"):
        p.log_prob_matrix(np.zeros((3, 2)))
    with pytest.raises(PriorError, match="off the unit cube"):
        p.from_unit(np.full((1, 3), 1.5))
    with pytest.raises(PriorError, match="values of the shape"):
        ik.Normal(0, 1, shape=(2,)).log_prob(np.zeros((3, 4)))


@ik.family("laplace")
class Laplace(ik.Univariate):
    loc: float
    scale: float
    positive = ("scale",)

    def log_density(self, x):
        return -abs(x - self.loc) / self.scale - np.log(2 * self.scale)

    def distribution(self, x):
        z = (x - self.loc) / self.scale
        return np.where(z < 0, np.exp(z) / 2, 1 - np.exp(-z) / 2)

    def quantile(self, q):
        return self.loc - self.scale * np.sign(q - 0.5) * np.log1p(-2 * abs(q - 0.5))


@pytest.fixture
def registered(monkeypatch):
    registry = plugins.Registry()

    def register(name):
        record = PriorSpec(name=name, summary="two exponentials", target="mine:Laplace")
        registry.register(
            SimpleNamespace(__name__="mine.plugin", inferkit_priors=lambda: [record]), "mine", "1"
        )

    monkeypatch.setattr(plugins, "registry", lambda: registry)
    monkeypatch.setattr(plugins, "load", lambda spec: Laplace)
    monkeypatch.setattr(plugins, "get", registry.get)
    return register


def test_a_third_partys_family(registered):
    registered("laplace")
    assert isinstance(Laplace(0, 1), ik.Family)
    p = ik.Prior({"m": ik.Normal(0, 1), "x": Laplace("m", 2.0, unit="pA"), "v": Laplace([0, 1], 1)})
    q = ik.Prior.from_config(p.to_config())
    assert q == p and p.units["x"] == "pA"
    t = p.sample(100, np.random.default_rng(0))
    expected = st.norm.logpdf(t["m"]) + st.laplace.logpdf(t["x"], t["m"], 2)
    expected += st.laplace.logpdf(t["v"], [0, 1], 1).sum(1)
    assert_allclose(p.log_prob(t), expected)
    m = p.pack(t)
    assert_allclose(p.from_unit(p.to_unit(m)), m, rtol=1e-9, atol=1e-12)
    with pytest.raises(PriorError, match="Laplace: scale is 0"):
        Laplace(0, 0)


def test_a_family_whose_names_differ(registered):
    registered("double_exponential")
    with pytest.raises(PluginError, match="calls itself 'laplace'"):
        ik.Prior.from_config({"a": {"family": "double_exponential", "loc": 0, "scale": 1}})
    with pytest.raises(PriorError, match="did you mean 'double_exponential'"):
        ik.Prior.from_config({"a": {"family": "double_exponentiel", "loc": 0, "scale": 1}})
