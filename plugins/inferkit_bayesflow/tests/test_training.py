"""The loop: exact resume, early stopping, schedules, online rows, damage; and a whole study file."""

import json

import numpy as np
import pytest
from inferkit_bayesflow import train
from inferkit_bayesflow.config import BayesFlowConfig
from waves import TINY, estimator, wave_study

from inferkit.commands import cli
from inferkit.errors import EstimatorError

NOISY = {"epochs": 5, "dropout": 0.1, "summary": "mlp"}


def weights(posterior):
    return posterior.engine.machine.state()


def same(a, b):
    return all(np.array_equal(x, y) for name in a for x, y in zip(a[name], b[name], strict=True))


class Stop(KeyboardInterrupt):
    """Ctrl-C, at a chosen epoch."""


def stops_after(monkeypatch, epoch):
    """A checkpoint after every epoch; at this one the fit ends."""
    write = train.checkpoint

    def writing(file, machine, history, best):
        write(file, machine, history, best)
        if history.epoch == epoch:
            raise Stop

    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(train, "checkpoint", writing)


slow = pytest.mark.slow(reason="two more fits of networks that are compiled for them")


@pytest.mark.parametrize("settings", [
    {}, {"online": 200, "keep": False}, pytest.param({"online": 200, "keep": True}, marks=slow),
    pytest.param({"inference": "flow_matching"}, marks=slow)],
    ids=["stored", "stream", "online", "flow matching"])
def test_a_fit_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, monkeypatch, settings):
    chosen = estimator(**{**NOISY, **settings})
    whole = wave_study(tmp_path / "a").fit(chosen)
    broken = wave_study(tmp_path / "b")
    with monkeypatch.context() as patch:
        stops_after(patch, 3)
        with pytest.raises(Stop):
            broken.fit(chosen)
    assert list((tmp_path / "b/run/fits").glob("*/checkpoint.npz"))
    resumed = broken.fit(chosen)
    assert same(weights(whole), weights(resumed))
    assert whole.info["validation_loss"] == resumed.info["validation_loss"]
    assert not list((tmp_path / "b/run/fits").glob("*/checkpoint*"))


def test_another_seed_is_another_network(tmp_path):
    made = wave_study(tmp_path / "a")
    one = made.fit(estimator(epochs=1))
    made.seed = 4
    assert not same(weights(one), weights(made.fit(estimator(epochs=1))))


def test_training_stops_early_and_keeps_the_best(tmp_path):
    made = wave_study(tmp_path, 100)
    posterior = made.fit(estimator(epochs=400, patience=4, rate=3e-2, schedule="none", width=64,
                                   located=True, batch=20))
    loss, best = posterior.info["validation_loss"], posterior.info["best_epoch"]
    assert len(loss) == best + 5 < 400 and loss[best] == min(loss)
    # The network that was kept is the one with that loss.
    problem = made._problem(estimator(), None)
    engine, space = posterior.engine, posterior.engine.space
    rows = problem.training()
    columns = [space.to_z(rows.theta), *engine.inputs.columns(rows.inputs)]
    source = train_rows(columns, problem, batch=20)
    value = np.mean([float(engine.machine.validate(b, 0)) for b in source.validation])
    assert abs(value - min(loss)) < 1e-5


def train_rows(columns, problem, **settings):
    from inferkit_bayesflow.rows import Stored

    columns = [np.asarray(c, np.float32) for c in columns]
    return Stored(columns, BayesFlowConfig(**settings), int(problem.rng(0, 0).integers(2**31)))


def test_schedules_are_what_they_say():
    from inferkit_bayesflow import backend

    backend.load()

    def rates(**settings):
        made = train.optimizer(BayesFlowConfig(rate=1e-2, epochs=10, **settings), 10)
        if not callable(getattr(made, "_learning_rate", None)):
            return np.full(101, float(made.learning_rate))
        return np.array([float(made._learning_rate(k)) for k in range(101)])

    cosine, falling, flat = (rates(schedule=s) for s in ("cosine", "exponential", "none"))
    assert np.isclose(cosine[5], 1e-2) and cosine[0] < 2e-3 and cosine[100] < 1e-6
    assert np.isclose(cosine[52], 5e-3, rtol=0.05)
    assert np.isclose(falling[10] / falling[0], 0.97) and (flat == flat[0]).all()


def test_online_rows_land_in_the_store_or_nowhere(tmp_path):
    made = wave_study(tmp_path)
    settings = {"epochs": 3, "online": 200}
    kept = made.fit(estimator(**settings))
    stored = made.store.rounds()
    assert len(stored) == 4 and kept.info["online"] == 600 and kept.info["simulations"] == 270
    made.fit(estimator(**settings), refit=True)  # finds every round again
    assert made.store.rounds() == stored
    forgotten = made.fit(estimator(**settings, keep=False))
    assert made.store.rounds() == stored and forgotten.info["online"] == 600


def test_divergence_is_an_error(tmp_path):
    made = wave_study(tmp_path, 100)
    with pytest.raises(EstimatorError, match="diverged.*\n.*smaller rate"):
        made.fit(estimator(epochs=3, rate=1e30, schedule="none", clip=1e30))


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_checkpoint_that_does_not_fit_is_told_in_a_line(tmp_path, monkeypatch, damage):
    made = wave_study(tmp_path, 100)
    with monkeypatch.context() as patch:
        stops_after(patch, 1)
        with pytest.raises(Stop):
            made.fit(estimator(epochs=2))
    (file,) = (tmp_path / "run/fits").glob("*/checkpoint.npz")
    data = file.read_bytes()
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        with np.load(file) as held:
            arrays = dict(held)
        np.savez(file, **{**arrays, "weights/0000": np.zeros((3, 3))})
    with pytest.raises(EstimatorError, match="damaged, or of another network\n.*delete it"):
        made.fit(estimator(epochs=2))


def test_a_saved_network_of_another_build_is_refused(tmp_path):
    from inferkit_bayesflow.estimator import BayesFlow

    made = wave_study(tmp_path, 100)
    posterior = made.fit(estimator(epochs=1))
    arrays, meta = posterior.engine.state()
    meta = json.loads(json.dumps(meta))
    meta["config"]["width"] = 24
    with pytest.raises(EstimatorError, match="does not fit the one that bayesflow"):
        BayesFlow.restore(arrays, meta, made.prior)


STUDY = """
seed = 1
simulations = 200
path = "run"
[observed]
seed = 7
theta = {{tau = 18.0, V_rest = -66.0, C = 190.0, V_th = -49.0}}
[simulator]
name = "lif"
duration = 50.0
outputs = ["V"]
[prior]
tau = {{family = "log_normal", median = 20.0, sigma = 0.3, unit = "ms"}}
V_rest = {{family = "normal", loc = -65.0, scale = 3.0, unit = "mV"}}
C = {{family = "log_normal", median = 200.0, sigma = 0.3, unit = "pF"}}
V_th = {{family = "normal", loc = -48.0, scale = 3.0, unit = "mV"}}
[estimator]
name = "bayesflow"
epochs = 3
{settings}
"""


def test_a_study_file_is_run_interrupted_resumed_and_reported(tmp_path, monkeypatch, capsys):
    settings = "\n".join(f"{k} = {json.dumps(v)}" for k, v in TINY.items())
    (tmp_path / "study.toml").write_text(STUDY.format(settings=settings))
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        stops_after(patch, 2)
        assert cli.main(["run", "study.toml"]) == 130
    assert list((tmp_path / "run/fits").glob("bayesflow-*/checkpoint.npz"))
    assert cli.main(["resume", "run"]) in (0, 1, None)
    assert (tmp_path / "run/report.html").stat().st_size > 50_000
    text = (tmp_path / "run/report.html").read_text()
    assert "training" in text and "typicality" in text
