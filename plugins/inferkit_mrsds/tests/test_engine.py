"""What a fit says, keeps and refuses; a short fit does for all of it."""

import json

import inferkit_mrsds
import jax
import numpy as np
import pytest
from inferkit_mrsds.analyse.predict import hidden_neurons
from inferkit_mrsds.engine import Engine

import inferkit as ik


def test_it_learns(fitted):
    assert fitted.info["loss"][-1] < fitted.info["loss"][0]
    found = inferkit_mrsds.recovery(fitted)
    assert found["state_accuracy"] > 0.9 > found["majority"]
    (a, b), (p, _) = found["x_r2"]  # the fourth latent is mostly noise
    assert found["y_r2"]["pooled"] > 0.9 and min(a, b, p) > 0.9
    assert found["message_share"][1][0] >= 0


def test_posterior_arrays(fitted, wells):
    T = wells["ys"].shape[1]
    draws = fitted.draws(3, None, np.random.default_rng(0))
    assert draws["latents"].shape == (3, 32, T, 2, 2) and draws["states"].shape == (3, 32, T)
    p = fitted.states(n=2)
    assert np.allclose(p.sum(-1), 1, atol=1e-4)
    assert (p.argmax(-1) == fitted.viterbi()).mean() > 0.9
    assert fitted.elbo(n=2).shape == (32,)


def test_messages_close_the_book(fitted):
    """Own step, messages and input sum to the predicted step, whatever the gauge."""
    m = fitted.messages()
    raw = np.nansum(m.raw, 3) - np.nansum(m.centred, 3)  # the constants that moved
    assert np.isnan(m.centred[:, 0]).all() and np.isfinite(m.centred[:, 1:]).all()
    assert np.abs(np.einsum("btiid->btid", m.centred[:, 1:])).max() == 0
    assert np.isfinite(raw).all()
    still = fitted._still(fitted.data)
    from inferkit_mrsds.analyse.messages import terms

    found = terms(fitted.model, still.x, fitted.data.u.astype("float32"))
    p = np.asarray(still.probability)[:, 1:].transpose(2, 0, 1)
    step = np.einsum("kbt,kbtrd->btrd", p, found.own + found.messages.sum(-2) + found.inputs)
    assert np.allclose(m.own[:, 1:] + m.centred[:, 1:].sum(3) + m.inputs[:, 1:], step, atol=1e-4)
    off = ~np.eye(2, dtype=bool)
    assert m.share[off].sum() == pytest.approx(1) and (m.told_apart[off] <= 1).all()


def test_predictions(fitted):
    f = fitted.forecast(t=20, horizon=5, n=4)
    assert f.mean.shape == f.actual.shape == (4, 5, 18) and f.xs.shape[:3] == (4, 4, 5)
    r2 = fitted.forecast_r2(horizon=3, n=2)
    assert r2["model"].shape == (3,) and r2["model"][0] > 0
    c = fitted.cosmooth()
    assert c.r2 > 0.3 and len(c.by_region) == 2
    assert np.array_equal(c.neurons, hidden_neurons((10, 8), 0.25, 0))
    made = fitted.generate(n=4, bins=30)
    assert made["ys"].shape == (4, 30, 18) and np.isfinite(made["ys"]).all()
    assert fitted.vector_field(1, 0, points=5)["step"].shape == (5, 5, 2)


def test_hidden_neurons_do_not_leak(fitted, wells):
    """What hidden neurons did cannot change what is said of them."""
    t = fitted.held_out
    first = fitted.cosmooth(t)
    other = t.select(slice(None))
    other.y = t.y.copy()
    other.y[..., first.neurons] += 5.0
    assert np.allclose(fitted.cosmooth(other).predicted, first.predicted, atol=1e-5)


def test_longer_trials_and_other_data(fitted, wells):
    longer = ik.simulator("double-well", neurons=[10, 8], bins=90).build().dataset(3, seed=9)
    assert fitted.viterbi(longer).shape == (3, 90)
    with pytest.raises(ik.errors.DataError, match="as in the fit or its settings"):
        fitted.states({**longer, "region_sizes": [8, 10]})
    with pytest.raises(ik.errors.DataError, match="2, as in the fit"):
        fitted.states({**longer, "us": None})
    with pytest.raises(ik.errors.DataError, match="2 to 74"):
        fitted.forecast(t=75)


def test_kept_to_the_bit(fitted):
    arrays, meta = fitted.state()
    again = Engine.restore(arrays, json.loads(json.dumps(meta)))
    for a, b in zip(jax.tree.leaves(fitted.model), jax.tree.leaves(again.model)):
        assert np.array_equal(a, b)
    assert np.array_equal(fitted.elbo(n=1), again.elbo(n=1))
    assert np.array_equal(fitted.cosmooth().predicted, again.cosmooth().predicted)


def test_a_stopped_fit_goes_on_to_the_same_parameters(wells, quick, tmp_path, monkeypatch):
    c = {"K": 2, "training": {**quick, "second_steps": 40}}
    whole = ik.estimator("mrsds", **c).build().train(wells, seed=4)
    from inferkit_mrsds.train import fit as fits

    looks = []

    def stopping(*args, **more):
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return original(*args, **more)

    original = fits.held_out_elbo
    monkeypatch.setattr(fits, "held_out_elbo", stopping)
    estimator = ik.estimator("mrsds", **c).build()
    with pytest.raises(KeyboardInterrupt):
        estimator.train(wells, seed=4, folder=tmp_path)
    monkeypatch.setattr(fits, "held_out_elbo", original)
    resumed = estimator.train(wells, seed=4, folder=tmp_path)
    for a, b in zip(jax.tree.leaves(whole.model), jax.tree.leaves(resumed.model)):
        assert np.array_equal(a, b)
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [40, 80, 120] and all(np.isfinite(x["elbo"]) for x in lines)
    with pytest.raises(ik.errors.EstimatorError, match="other data"):
        estimator.train(wells, seed=5, folder=tmp_path)
    (tmp_path / "checkpoint0.npz").write_bytes(b"no")
    with pytest.raises(ik.errors.EstimatorError, match="damaged"):
        estimator.train(wells, seed=4, folder=tmp_path)


def test_the_second_stage_leaves_the_encoder_alone(wells, quick, monkeypatch):
    from inferkit_mrsds.train import fit as fits

    kept = []
    original = fits.Resume.next_stage

    def watch(self, trainer):
        kept.append(jax.tree.map(np.array, self.best))
        original(self, trainer)

    monkeypatch.setattr(fits.Resume, "next_stage", watch)
    engine = ik.estimator("mrsds", K=2, training={**quick, "second_steps": 40}).build().train(wells)
    same = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(kept[0].encoder),
                                                 jax.tree.leaves(engine.model.encoder))]
    assert all(same)
    assert not np.array_equal(kept[0].generative.emissions.loadings,
                              engine.model.generative.emissions.loadings)


def test_sessions_have_their_own_neurons(quick):
    """Two sessions of one system through other neurons: one dynamics, states found in both."""
    parts = [ik.simulator("double-well", neurons=[8, 7], emission_seed=s).build().dataset(12, seed=s)
             for s in (0, 1)]
    ys = np.full((24, 75, 30), np.nan)
    ys[:12, :, :8], ys[:12, :, 16:23] = parts[0]["ys"][..., :8], parts[0]["ys"][..., 8:]
    ys[12:, :, 8:16], ys[12:, :, 23:] = parts[1]["ys"][..., :8], parts[1]["ys"][..., 8:]
    data = {
        "ys": np.nan_to_num(ys),
        "ys.mask": np.isfinite(ys),
        "region_sizes": [16, 14],
        "us": np.concatenate([p["us"] for p in parts]),
        "session": np.repeat([0, 1], 12),
        "zs": np.concatenate([p["zs"] for p in parts]),
        "xs": np.concatenate([p["xs"] for p in parts]),
    }
    engine = ik.estimator("mrsds", K=2, inference="mean-field", encoder={"blocks": 0},
                          training=quick).build().train(data)
    assert engine.layout.shape == (2, 2, 8)
    guess = engine.activity()
    assert np.array_equal(np.isnan(guess), ~np.isfinite(ys))
    left = np.nansum((guess - ys) ** 2) / np.nansum((ys - np.nanmean(ys, (0, 1))) ** 2)
    assert left < 0.2
    assert inferkit_mrsds.recovery(engine, data)["state_accuracy"] > 0.9


@pytest.mark.parametrize("link", ["softplus", pytest.param("exp", marks=pytest.mark.slow)])
def test_poisson_counts(link, quick):
    x = ik.simulator("double-well", neurons=[12, 12], noise=0.0).build().dataset(24, seed=2)
    rates = np.exp(0.5 * x["ys"] + 0.7)
    counts = np.random.default_rng(0).poisson(np.minimum(rates, 40)).astype(float)
    data = {"ys": counts, "us": x["us"], "zs": x["zs"], "xs": x["xs"], "region_sizes": [12, 12]}
    engine = ik.estimator("mrsds", K=2, inference="mean-field", encoder={"blocks": 0},
                          emissions={"family": "poisson", "link": link},
                          training={**quick, "steps": 200}).build().train(data)
    c = engine.cosmooth()
    assert c.bits > 0.02, link
    guess = engine.activity()
    assert np.corrcoef(guess.ravel(), rates.ravel())[0, 1] > 0.8
    made = engine.generate(n=2, bins=20)["ys"]
    assert np.array_equal(made, np.round(made))


KINDS = {
    "mean-field": {"inference": "mean-field"},
    "amortized, all penalties": {"objective": {
        "z_posterior": "amortized", "overshoot": 0.5, "horizon": 2, "recon": "mix", "smooth": 1e-3,
        "message_l21": 0.1, "weight_decay": 1e-4, "beta_start": 5.0, "beta_warmup": 20}},
    "svae": {"inference": "svae", "K": 1}, "one block": {"dynamics": {"single_latent": True}},
    "shared": {"dynamics": {"zcond": True, "xz": False, "uz": False}},
    "fixed noise": {"noise": {"per_state": True, "trainable": False},
                    "encoder": {"heteroscedastic": False}},
    "deep": {"emissions": {"layers": [8]},
             "training": {"drop": 0.3, "average": 0.9, "init": "random"}},
}


@pytest.mark.slow  # each compiles programs of its own
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains(kind, wells, quick):
    c = {"K": 2, "encoder": {"blocks": 0}, **KINDS[kind]}
    c["training"] = {**quick, "steps": 20, "evaluate": 10, **c.get("training", {})}
    engine = ik.estimator("mrsds", **c).build().train(wells)
    assert np.isfinite(engine.info["validation_loss"]).all()
    assert np.isfinite(engine.elbo(n=1)).all()
    assert np.isfinite(engine.forecast(t=30, horizon=2, n=1).mean).all()


@pytest.mark.slow
def test_patience_stops(wells, quick):
    t = {**quick, "steps": 400, "evaluate": 10, "patience": 2, "rate": 0.2}
    engine = ik.estimator("mrsds", K=2, training=t).build().train(wells)
    assert engine.info["steps"] < 400 and len(engine.info["loss"]) == engine.info["steps"] // 10
