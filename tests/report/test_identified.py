"""Which parameters are identified, in words."""

import numpy as np

from inferkit.report import identified


def test_a_ridge_is_told_in_words():
    """tau and C along a ridge: their difference is known to 5 %, their sum to 90 %; b not at all."""
    r = np.random.default_rng(0)
    n = 20_000
    prior = r.standard_normal((n, 4)) * [1, 1, 10, 1]
    along, across = 0.9 * r.standard_normal(n), 0.05 * r.standard_normal(n)
    tau, c = (along + across) / np.sqrt(2), (along - across) / np.sqrt(2)
    posterior = np.stack([tau, c, 0.5 * r.standard_normal(n), 0.97 * r.standard_normal(n)], axis=1)
    said = identified.words(posterior, prior, ["tau", "C", "V", "b"])
    assert said[0].startswith("Identified") and "V (5%)" in said[0] and "tau" not in said[0]
    assert said[1].startswith("Partly identified") and "tau (64%)" in said[1]
    assert said[2].startswith("Not identified") and "b (9" in said[2]
    assert len(said) == 4
    assert "tau and C rise together" in said[3] and " tau − " in said[3]
    assert "to 5% of the prior's width, and leave 90% along the ridge" in said[3]


def test_parameters_that_trade_off():
    r = np.random.default_rng(1)
    a, e = r.standard_normal(5000), 0.1 * r.standard_normal(5000)
    said = identified.words(np.stack([a, -a + e], axis=1), r.standard_normal((5000, 2)), ["a", "g"])
    assert "trade off against each other" in said[-1] and " + " in said[-1]


def test_parameters_are_told_in_their_own_order():
    r = np.random.default_rng(2)
    prior = r.standard_normal((4000, 3))
    said = identified.words(r.standard_normal((4000, 3)) * [0.2, 0.05, 0.1], prior, ["a", "b", "c"])
    assert [said[0].index(f"{name} (") for name in "abc"] == sorted(
        said[0].index(f"{name} (") for name in "abc")
