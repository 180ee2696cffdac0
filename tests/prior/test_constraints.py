"""Constraints: normalisers with a closed form, rejection that ends, messages."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from inferkit import prior as ik
from inferkit.errors import PriorError

W = {"w": ik.Normal(0, 1, shape=(2,))}
U = {"a": ik.Uniform(0, 1), "b": ik.Uniform(0, 1)}
KNOWN = {
    "order": (W, "w[0] < w[1]", 1 / 2),
    "function": (W, lambda p: p["w"][:, 0] < p["w"][:, 1], 1 / 2),
    "triangle": (U, "a + b < 0.5", 1 / 8),
    "disc": (U, "a ** 2 + b ** 2 < 1", np.pi / 4),
    "rare": (U, ["a < 0.02", "b < 0.05"], 1e-3),
}


@pytest.mark.parametrize("parts, rule, share", KNOWN.values(), ids=KNOWN)
def test_the_normaliser(parts, rule, share):
    p, free = ik.Prior(parts, constraint=rule), ik.Prior(parts)
    rate, error, draws = p.acceptance
    assert abs(rate - share) < 3 * error and draws >= 100_000
    assert_allclose(error, np.sqrt(rate * (1 - rate) / draws))
    t = p.sample(500, np.random.default_rng(0))
    assert p.support_contains(p.pack(t)).all()
    gain = p.log_prob(t) - free.log_prob(t)
    assert_allclose(gain, -np.log(share), atol=3 * error / share)
    outside = free.pack(free.sample(500, np.random.default_rng(0)))
    held = p.support_contains(outside)
    assert (p.log_prob_matrix(outside) > -np.inf).tolist() == held.tolist()
    assert abs(held.mean() - share) < 0.1


def test_two_priors_have_one_normaliser():
    assert ik.Prior(W, "w[0] < w[1]").acceptance == ik.Prior(W, "w[0] < w[1]").acceptance
    assert ik.Prior(W).acceptance == (1.0, 0.0, 0)


def test_draws_follow_the_constrained_law():
    p = ik.Prior(W, constraint="w[0] < w[1]")
    w = p.sample(20_000, np.random.default_rng(0))["w"]
    assert_allclose(w.mean(0), [-1 / np.sqrt(np.pi), 1 / np.sqrt(np.pi)], atol=0.02)


def test_unconstrained_space_keeps_the_base_map():
    p = ik.Prior(U, constraint="a < b")
    u = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert np.isfinite(p.log_prob_unconstrained(u)).tolist() == [True, False]
    assert np.isfinite(p.from_unconstrained(u)[0]).all()


def test_children_may_be_constrained():
    p = ik.Prior({"m": ik.Normal(0, 1), "x": ik.Normal("m", 1)}, constraint="x > m")
    assert abs(p.acceptance.estimate - 0.5) < 3 * p.acceptance.error


def test_what_is_never_satisfied_is_named():
    p = ik.Prior(U, constraint=["a < 0.5", "b > 2"])
    with pytest.raises(PriorError, match="the constraint 'b > 2' is never satisfied") as e:
        p.sample(1, np.random.default_rng(0))
    assert "'a < 0.5' in 4" in str(e.value) or "'a < 0.5' in 5" in str(e.value)
    p = ik.Prior(U, constraint=["a < 0.5", "a > 0.5"])
    with pytest.raises(PriorError, match="almost never satisfied together"):
        p.log_prob({"a": np.array([0.1]), "b": np.array([0.1])})
    with pytest.raises(PriorError, match="'a < 0.00001' is almost never|never"):
        _ = ik.Prior(U, constraint="a < 0.00001").acceptance


@pytest.mark.parametrize(
    "rule, says",
    [
        ("a + b", "w[0] < w[1]"),
        (lambda p: p["a"] - p["b"], "float64"),
        (lambda p: True, "no `and`"),
        (lambda p: np.ones((3, 2), bool), ".all(axis=1)"),
        (lambda p: (p["a"] > 0)[:-1], "bool(2,) for 3 rows"),
    ],
)
def test_wrong_results_are_errors_at_once(rule, says):
    with pytest.raises(PriorError, match="booleans, one a row") as e:
        ik.Prior(U, constraint=rule)
    assert says in str(e.value)


def test_other_bad_constraints():
    with pytest.raises(PriorError, match="unknown parameter in the constraint 'c < 1': 'c'"):
        ik.Prior(U, constraint="c < 1")
    with pytest.raises(PriorError, match="a constraint is 3"):
        ik.Prior(U, constraint=3)
    with pytest.raises(PriorError, match="names no parameter"):
        ik.Constraint("1 < 2")
    assert str(ik.Constraint(lambda p: p["a"] > 0, label="a positive")) == "a positive"


def test_a_number_of_any_length_is_refused_where_no_float_holds_it():
    with pytest.raises(PriorError, match="beyond 1e308"):
        ik.Prior({"a": ik.Uniform(0, 1)}, "a < " + "9" * 401)
