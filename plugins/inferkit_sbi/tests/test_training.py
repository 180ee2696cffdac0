"""Training: scratch files, fresh simulations, warm starts, mixing; and the samplers of a likelihood."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from inferkit_sbi import mcmc, rounds, rows
from inferkit_sbi.config import NPEConfig
from inferkit_sbi.learn import stacked
from inferkit_sbi.train import behind, surely_more

import inferkit as ik
from inferkit.errors import ConfigError, EstimatorError
from inferkit.estimate import Problem

QUICK = {"epochs": 30, "hidden": 24, "transforms": 3}


def normal(theta, rng):
    return np.array([theta["a"] + 0.5 * rng.standard_normal()])


def study(tmp_path, estimator, n=1000, name="run", function=normal, **options):
    made = ik.Study(function, ik.Prior({"a": ik.Normal(0.0, 1.0)}), quiet=True, seed=5,
                    estimator=estimator, path=tmp_path / name,
                    executor=ik.executor("local", workers=0), **options)
    made.simulate(n)
    return made


def exact(x):
    """Mean and sd of a ~ N(0, 1) given x ~ N(a, 0.5)."""
    return x / (1 + 0.25), np.sqrt(1 / (1 + 1 / 0.25))


def check(posterior, x=0.8, mean=0.08, sd=0.12):
    draws = posterior.sample(20_000, np.array([x]))["a"]
    due, width = exact(x)
    assert abs(draws.mean() - due) < mean and abs(draws.std() / width - 1) < sd


# -- where rows come from ------------------------------------------------------------------------------


def test_rows_on_disk_are_the_rows_in_memory(tmp_path):
    made = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    tables = []
    for memory in (np.inf, 40_000.0):  # of 80,000 bytes
        table = rows.Table(memory, tmp_path, torch.device("cpu"))
        for part in np.array_split(made, 7):
            table.append([part, part[:, :1]])
        tables.append(table.close())
    assert not tables[0].on_disk and tables[1].on_disk and not list(tmp_path.iterdir())
    at = np.array([4999, 0, 17, 17])
    for table in tables:
        assert np.array_equal(table.take(at)[0].numpy(), made[at])
    config = NPEConfig(batch=256)
    sources = [rows.Stored(t, config, 3) for t in tables]
    assert torch.equal(sources[0].validation[0], sources[1].validation[0])
    for source in sources:  # each epoch has each training row once, in another order every time
        epochs = [np.concatenate([b[0].numpy() for b in source.epoch(e)]) for e in (0, 1, 0)]
        assert len(epochs[0]) == 4500 and not np.array_equal(epochs[0], epochs[1])
        assert np.array_equal(epochs[0], epochs[2])
        assert np.array_equal(np.sort(epochs[0][:, 0]), np.sort(epochs[1][:, 0]))


def test_what_is_held_in_memory_goes_by_what_is_allowed(tmp_path):
    def wide(theta, rng):
        return theta["a"] + rng.standard_normal(500)

    made = study(tmp_path, "npe", 2500, function=wide)
    problem = Problem(made.prior, made.view(), 0, tmp_path, "t", made.training)
    assert len(rows.spread(problem, 1.0)) == 2250
    some = rows.spread(problem, 1e-6)  # 100 rows at least, evenly from all of them
    assert len(some) == 100 and some.index.min() < 10 and some.index.max() > 2490
    assert np.array_equal(some.inputs["x"], problem.view.of(made.training)["x"][
        np.isin(made.training.index, some.index)])
    table = rows.fill(problem.batches(), lambda p: [p.inputs["x"]], 1e6, tmp_path, torch.device("cpu"))
    assert table.on_disk and table.fitting == 125  # of 2 kB, a quarter of 1 MB
    assert len(rows.Stored(table, NPEConfig(validation=0.8), 1).validation[0]) == 125


def test_training_from_disk_learns_the_same(tmp_path):
    made = study(tmp_path, "npe", 3000)
    check(made.fit(ik.estimator("npe", memory=1e-6, batch=100, **QUICK)))
    assert not list((tmp_path / "run/fits").glob("*/tmp*"))


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(**options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows.tempfile, "TemporaryFile", full)
    made = study(tmp_path, "npe", 200)
    with pytest.raises(EstimatorError, match="No space left.*\n?.*larger"):
        made.fit(ik.estimator("npe", memory=1e-6))


def test_online_training_simulates_every_epoch_and_keeps_the_rows(tmp_path):
    made = study(tmp_path, "npe", 400)
    online = ik.estimator("npe", online=1000, batch=50, **{**QUICK, "epochs": 15})
    posterior = made.fit(online)
    epochs = len(posterior.info["loss"])
    stored = made.store.rounds()
    assert len(stored) == epochs + 1  # and the prior's round
    assert posterior.info["simulations"] == 360  # those it was validated on
    check(posterior, mean=0.12, sd=0.15)
    # The same fit again finds every round in the store, and gives the same network.
    again = made.fit(online, refit=True)
    assert made.store.rounds() == stored
    assert np.array_equal(again.info["loss"], posterior.info["loss"])
    with pytest.raises(ConfigError, match="online = 10 and rounds = 2"):
        ik.estimator("npe", online=10, rounds=2)


def test_a_warm_start_begins_where_the_smaller_fit_ended(tmp_path):
    settings = {**QUICK, "density": "maf", "warm_start": True, "batch": 100}
    made = study(tmp_path, ik.estimator("npe", **settings), 2000)
    first = made.fit()
    assert first.info["warm"] is False
    made.simulate(3000)
    second = made.fit()
    assert second.info["warm"] is True and second.info["simulations"] == 2700
    ended = min(first.info["validation_loss"])
    assert abs(second.info["validation_loss"][0] - ended) < 0.2
    assert first.info["validation_loss"][0] > ended + 0.2
    check(second)
    other = made.fit(ik.estimator("npe", **{**settings, "hidden": 16}))
    assert other.info["warm"] is False  # another network cannot


@pytest.mark.parametrize("held", [b"cut off", {"net": {"other.weight": torch.zeros(3)}}])
def test_a_checkpoint_that_does_not_fit_is_told_in_a_line(tmp_path, held):
    made = study(tmp_path, ik.estimator("npe", **{**QUICK, "density": "maf", "epochs": 2}), 200)
    made.fit()
    (folder,) = (tmp_path / "run/fits").iterdir()
    file = folder / "checkpoint-0-0.pt"
    file.write_bytes(held) if isinstance(held, bytes) else torch.save(held, file)
    with pytest.raises(EstimatorError, match="damaged, or of another network\n.*delete it"):
        made.fit(refit=True)
    file.unlink()
    assert len(made.fit(refit=True).info["loss"]) == 1  # a validation after both epochs


def test_stacking_finds_the_better_network():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(2000)
    good, poor = -0.5 * x**2, -0.5 * (x / 3) ** 2 - np.log(3)
    assert stacked([good, poor])[0] > 0.95
    half = np.where(rng.random(2000) < 0.5, 0.0, 4.0) + x  # a mixture of what the two describe
    log_q = [-0.5 * half**2, -0.5 * (half - 4) ** 2]
    assert abs(stacked(log_q)[0] - 0.5) < 0.05
    assert stacked([good, np.full(2000, -800.0)]) == [1.0, 0.0]


@pytest.mark.parametrize("density", ["nsf", "maf_rqs"])
def test_a_posterior_much_narrower_than_the_prior_has_no_draws_all_over_it(tmp_path, density):
    """The sd, which a few far draws blow up: a spline flow around the prior gives four times it."""
    def precise(theta, rng):
        return theta["a"] + 0.05 * rng.standard_normal(1)

    made = study(tmp_path, ik.estimator("npe", density=density, batch=100, **QUICK), 3000,
                 function=precise)
    posterior, due = made.fit(), 0.05 / np.sqrt(1 + 0.05**2)
    for x in (-1.0, 0.0, 0.8):
        draws = posterior.sample(20_000, np.array([x]))["a"]
        assert 0.8 < draws.std() / due < 1.5
        assert abs(draws.mean() - x / (1 + 0.05**2)) < 0.5 * due


def test_auto_mixes_by_weights_and_is_saved(tmp_path):
    made = ik.Study(lambda t, rng: t["a"] + 0.5 * rng.standard_normal(2),
                    ik.Prior({"a": ik.Normal(0.0, 1.0, shape=(2,))}), quiet=True, seed=5,
                    path=tmp_path / "run", executor=ik.executor("local", workers=0))
    made.simulate(1000)
    posterior = made.fit(ik.estimator("npe", **QUICK))
    weights = posterior.info["weights"]
    assert len(posterior.engine.nets) == 2 and abs(sum(weights) - 1) < 1e-9
    theta, x = np.array([[0.3, 0.1], [1.0, -1.0]]), np.array([0.5, 0.2])
    loaded = ik.load(posterior.save(tmp_path / "saved"))
    assert np.abs(loaded.log_prob(theta, x) - posterior.log_prob(theta, x)).max() < 1e-6
    assert np.array_equal(loaded.sample(50, x).values, posterior.sample(50, x).values)


# -- corrections ---------------------------------------------------------------------------------------


def test_variant_a_divides_gaussians_exactly():
    """(posterior x proposal / prior) / proposal x prior is the posterior again."""
    from sbi.neural_nets.estimators.mog import MoG

    mean, cov = np.array([0.5, -1.0]), np.array([[0.2, 0.05], [0.05, 0.3]])
    m0, s0 = np.array([0.4, -0.8]), np.diag([0.6, 0.7])
    p, p0 = np.linalg.inv(cov), np.linalg.inv(s0)
    seen = p + p0 - np.eye(2)  # what is learned under the proposal
    seen_mean = np.linalg.solve(seen, p @ mean + p0 @ m0)
    correction = rounds.GaussianCorrection(2)
    correction.set(m0, s0)

    def tensor(a):
        return torch.as_tensor(a, dtype=torch.float32)[None, None]

    got = correction(MoG(torch.zeros(1, 1), tensor(seen_mean), tensor(seen)))
    assert np.allclose(got.means[0, 0], mean, atol=1e-4)
    assert np.allclose(got.precisions[0, 0], p, rtol=1e-3)
    wide = MoG(torch.zeros(1, 1), tensor(m0), tensor(0.5 * p0 * 0 + 0.1 * np.eye(2)))
    with pytest.raises(EstimatorError, match="wider than its proposal"):
        correction(wide)
    with pytest.raises(ConfigError, match='variant "A" with density'):
        ik.estimator("npe", variant="A", density="maf", rounds=2)


def test_variant_b_weighs_rows_by_prior_over_proposals():
    from inferkit.prior.space import log_phi

    class Narrow:
        def log_prob(self, z):
            return log_phi(z / 0.5) - np.log(0.5)

    z = np.array([[0.0], [1.0]])
    got = np.exp(rounds.log_importance(z, [Narrow()], 1000, 3000))
    phi, q = np.exp(log_phi(z)), np.exp(Narrow().log_prob(z))
    assert np.allclose(got, phi / (0.25 * phi + 0.75 * q))
    assert (rounds.log_importance(z, [], 1000, 1000) == 0).all()


# -- likelihoods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["rejection", "vi"])
def test_other_samplers_of_a_likelihood(tmp_path, sampler):
    made = study(tmp_path, "nle", 2000)
    posterior = made.fit(ik.estimator("nle", sampler=sampler, **{**QUICK, "epochs": 60}))
    check(posterior, mean=0.1, sd=0.15)
    if sampler == "vi":
        assert posterior.engine.sampled["khat"] < 0.7
    else:
        assert 0 < posterior.engine.sampled["acceptance"] <= 1


def test_rejection_is_exact_and_says_when_it_is_hopeless():
    def log_l(z, which):
        return -0.5 * ((z[:, 0] - 1.0) / 0.3) ** 2

    draws, told = mcmc.reject(log_l, 1, 1, 20_000, np.random.default_rng(0))
    precision = 1 + 1 / 0.09
    assert abs(draws.mean() - (1 / 0.09) / precision) < 0.01
    assert abs(draws.std() * np.sqrt(precision) - 1) < 0.02 and told["acceptance"] > 0.05
    with pytest.raises(EstimatorError, match="draws of the prior"):
        mcmc.reject(lambda z, w: -0.5 * ((z - 2.0) / 0.002).astype(float).__pow__(2).sum(1), 1, 3, 100,
                    np.random.default_rng(0))


def test_the_likelihood_s_gradient(tmp_path):
    """Against differences of the log-likelihood itself, in a bounded and a dependent prior."""
    prior = ik.Prior({"a": ik.Uniform(0.0, 3.0), "b": ik.Normal("a", 0.5)})
    made = ik.Study(lambda t, rng: np.array([t["a"], t["b"]]) + 0.3 * rng.standard_normal(2), prior,
                    quiet=True, seed=5, path=tmp_path / "run",
                    executor=ik.executor("local", workers=0))
    made.simulate(1000)
    engine = made.fit(ik.estimator("nle", **QUICK)).engine
    theta, x = np.array([[1.0, 1.3], [2.5, 2.2], [0.4, 0.1]]), {"x": np.array([1.1, 1.4])}
    value, slope = engine.log_likelihood_and_gradient(theta, x)
    assert np.allclose(value, engine.log_likelihood(theta, x), atol=1e-4)
    for j in range(2):
        h = np.zeros(2)
        h[j] = 2e-2
        numeric = (engine.log_likelihood(theta + h, x) - engine.log_likelihood(theta - h, x)) / 4e-2
        assert np.allclose(slope[:, j], numeric, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["npe", "nle"])
def test_a_small_signal_on_a_large_number(name, tmp_path):
    """x = 1234567890 + theta + 0.3 e: single precision holds steps of 128 there."""
    settings = {"epochs": 40} if name == "npe" else {"epochs": 40}
    study = ik.Study(
        lambda theta, rng: {"x": 1234567890 + theta["m"] + 0.3 * rng.standard_normal(1)},
        ik.Prior({"m": ik.Normal(0.0, 1.0)}), path=tmp_path / "run", seed=1, quiet=True,
        estimator=ik.estimator(name, **settings), executor=ik.executor("local", workers=0))
    study.simulate(2000)
    draws = study.fit().sample(2000, {"x": np.array([1234567890.8])})["m"]
    var = 1 / (1 + 1 / 0.09)
    assert abs(draws.mean() - 0.8 / 0.09 * var) < 0.12 and 0.75 < draws.std() / var**0.5 < 1.35


def test_atoms_are_refused_where_simulations_fail(tmp_path):
    def fails(theta, rng):
        if theta["a"] > 1.0:
            raise ValueError("too large")
        return normal(theta, rng)

    made = study(tmp_path, ik.estimator("npe", variant="C", rounds=2, round_simulations=50, **QUICK),
                 n=200, function=fails, observed=np.array([0.5]))
    with pytest.raises(EstimatorError, match='variant "C" is biased where simulations fail'):
        made.fit()


def test_too_few_simulations_are_told_with_how_many_to_type(tmp_path):
    """Two moons by a few hundred simulations are far too wide; a line of Gaussians is done."""
    made = ik.Study(ik.simulator("two_moons"), ik.simulator("two_moons").build().prior(), seed=5,
                    estimator=ik.estimator("npe", density="maf", epochs=60), path=tmp_path / "few",
                    quiet=True, executor=ik.executor("local", workers=0))
    made.simulate(1000)
    made.fit()
    told = made.check(only=["budget"])["budget"]
    assert told.status == "WARN" and "study.simulate(2000)" in told.remedy
    assert list(told.curves["simulations"]) == [225, 450, 900]
    assert told.numbers["tenfold"] > told.numbers["double"] > 0.25
    easy = study(tmp_path, ik.estimator("npe", density="maf", epochs=60), 1500)
    easy.fit().info["seconds"] = 100.0
    assert easy.check(only=["budget"])["budget"].status == "PASS"
    [unasked] = [v for v in easy.check() if v.name == "budget"]
    assert unasked.status == "NOT RUN" and 'only=["budget"]' in unasked.remedy


def raced(*losses):
    return [SimpleNamespace(state=SimpleNamespace(history=SimpleNamespace(validation_loss=list(each))))
            for each in losses]


def test_a_network_falls_behind_by_what_it_could_not_make_up_for():
    slow, quick = raced([3.0, 2.9, 2.8, 2.8, 2.7, 2.7], [3.0, 2.0, 1.5, 1.2, 1.1, 1.0])
    assert behind(slow, [slow, quick]) and not behind(quick, [slow, quick])
    late, early = raced([9.0, 7.0, 5.0, 4.0, 3.0, 2.5], [3.0, 2.5, 2.2, 2.1, 2.0, 2.0])
    assert not behind(late, [late, early])  # by half its way it would be ahead
    # What a rival did later does not matter: a race that is taken up again decides as before.
    (ahead,) = raced([3.0, 2.9, 2.8, 2.8, 2.7, 2.69, 0.0])
    assert not behind(slow, [slow, ahead])


def test_rows_that_are_surely_worse():
    rng = np.random.default_rng(0)
    a = torch.as_tensor(rng.standard_normal(400))
    assert surely_more(a + 0.1 + 0.05 * torch.as_tensor(rng.standard_normal(400)), a)
    assert not surely_more(a + torch.as_tensor(rng.standard_normal(400)) * 3, a)
