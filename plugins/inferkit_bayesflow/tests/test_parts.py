"""Settings, scaling, layouts, rows, and the densities of the networks written here."""

import numpy as np
import pytest
from inferkit_bayesflow import rows
from inferkit_bayesflow.config import BayesFlowConfig
from inferkit_bayesflow.inputs import Inputs, Moments
from inferkit_bayesflow.rows import FEWEST, Stored
from waves import estimator, wave_study

import inferkit as ik
from inferkit.data import Output, Ragged
from inferkit.errors import ConfigError, DataError, EstimatorError


@pytest.mark.parametrize("settings, said", [
    ({"rate": 0.0}, "rate is 0.0.*\n?.*above 0"),
    ({"validation": 0.95}, "validation is 0.95"),
    ({"dropout": 1.0}, "dropout is 1.0"),
    ({"decay": 0.0}, "decay is 0.0, a factor an epoch"),
    ({"layers": 0}, "layers is 0"),
    ({"patience": -1}, "patience is -1"),
    ({"online": 100, "batch": 256}, "online = 100 is less than a batch of 256"),
    ({"summary": "rnn"}, "summary is 'rnn'"),
    ({"inference": "maf"}, "inference is 'maf'"),
    ({"backend": "tensorflow"}, "backend is 'tensorflow'"),
    ({"epoch": 3}, "epoch"),
])
def test_a_bad_setting_says_what_is_allowed(settings, said):
    with pytest.raises(ConfigError, match=said):
        ik.estimator("bayesflow", **settings)


def test_moments_of_parts_are_those_of_the_whole():
    x = np.random.default_rng(0).normal(-65.0, 1e-3, (1000, 3)) + np.array([0.0, 1e6, 0.0])
    x[::7, 2] = np.nan
    moments = Moments()
    for part in np.array_split(x, 7):
        moments.add(part)
    assert np.allclose(moments.mean, np.nanmean(x, 0), rtol=1e-14)
    assert np.allclose(moments.sd[[0, 2]], np.nanstd(x, 0)[[0, 2]], rtol=1e-9)
    assert moments.missing.tolist() == [False, False, True]


def test_digits_survive_a_large_offset():
    """float32 holds seven digits; a voltage that moves by a microvolt around -65 mV needs more."""
    x = -65.0 + 1e-7 * np.random.default_rng(0).standard_normal((500, 100))
    inputs = Inputs.learned([{"V": x}], {}, "mlp")
    _, column = inputs.columns({"V": x})
    assert abs(column.std() - 1) < 1e-3 and len(np.unique(column)) > 40_000


@pytest.mark.parametrize("kind, shape, dims, row", [
    ("none", (5,), (), None), ("mlp", (7, 3), (), (21,)), ("lstm", (70,), ("time",), (70, 1)),
    ("cnn", (3, 70), ("region", "time"), (70, 3)), ("cnn", (70, 3), ("time", "region"), (70, 3)),
    ("deep_set", (12, 4, 2), (), (12, 8)), ("auto", (70,), ("time",), (70,)),
    ("auto", (4000,), ("time",), (4000, 1)), ("auto", (9,), (), None),
])
def test_inputs_are_laid_out_for_their_network(kind, shape, dims, row):
    x = np.random.default_rng(1).standard_normal((30, *shape))
    inputs = Inputs.learned([{"x": x}], {"x": Output("x", shape, dims=dims)}, kind)
    columns = inputs.columns({"x": x})
    if row is None:
        assert len(columns) == 1 and columns[0].shape == (30, int(np.prod(shape)))
    else:
        assert columns[0].shape == (30, 0) and columns[1].shape == (30, *row)
    if dims == ("region", "time"):
        flat = columns[1][:, :, 2] * x[:, 2].std() + x[:, 2].mean()
        assert np.allclose(flat, x[:, 2], atol=1e-5)


def test_undefined_features_are_told_beside():
    x = np.random.default_rng(1).standard_normal((50, 3))
    x[::2, 1] = np.nan
    inputs = Inputs.learned([{"features": x}], {}, "auto")
    (column,) = inputs.columns({"features": x})
    assert column.shape == (50, 4) and np.isfinite(column).all()
    assert np.array_equal(column[:, 3], np.isnan(x[:, 1])) and (column[::2, 1] == 0).all()
    x[0, 0] = np.nan
    with pytest.raises(DataError, match=r"features\[0\] is NaN, which no training simulation had"):
        inputs.columns({"features": x})


def test_data_of_another_shape_are_refused():
    inputs = Inputs.learned([{"x": np.ones((5, 3))}], {}, "auto")
    with pytest.raises(DataError, match=r"rows of shape \(4,\)\n.*\(3,\), as in training"):
        inputs.columns({"x": np.ones((1, 4))})
    with pytest.raises(DataError, match="input 'x' is missing"):
        inputs.columns({"y": np.ones((1, 3))})
    with pytest.raises(DataError, match="ragged"):
        Inputs.learned([{"x": Ragged.from_rows([[1.0]])}], {}, "auto")
    with pytest.raises(ConfigError, match="summary 'lstm' is for traces"):
        Inputs.learned([{"x": np.ones((5, 2, 3, 4))}], {}, "lstm")


def test_rows_beyond_the_memory_come_from_a_file(tmp_path):
    made = wave_study(tmp_path, 400)
    problem = made._problem(estimator(), None)
    parts = list(problem.batches())

    def columns(part):
        return [part.theta, np.empty((len(part), 0)), part.inputs["x"]]

    held = rows.table(parts, columns, 1e9, tmp_path)
    filed = rows.table(parts, columns, 1.0, tmp_path)
    assert isinstance(filed[2], np.memmap) and not isinstance(held[2], np.memmap)
    assert all(np.array_equal(a, b) for a, b in zip(held, filed))
    assert not [f for f in tmp_path.iterdir() if f.name != "run"]


def test_an_epoch_has_each_row_at_most_once_and_another_order():
    x = [np.arange(1000.0)[:, None], np.empty((1000, 0))]
    source = Stored(x, BayesFlowConfig(batch=64), 1)
    one, two = (np.concatenate([b[0] for b in source.epoch(e)]).ravel() for e in (0, 1))
    assert len(one) == len(np.unique(one)) == source.steps * 64 == 896
    assert not np.array_equal(one, two)
    assert np.array_equal(one, np.concatenate([b[0] for b in source.epoch(0)]).ravel())
    held = np.concatenate([b[0] for b in source.validation])
    assert not np.isin(held, one).any() and {len(b[0]) for b in source.validation} == {64}
    with pytest.raises(EstimatorError, match="too few to train on"):
        Stored([c[: FEWEST - 1] for c in x], BayesFlowConfig(), 1)


@pytest.mark.parametrize("dim, settings", [(1, {"located": False}), (2, {"located": True})])
def test_densities_integrate_to_one_and_fit_their_draws(dim, settings):
    """An untrained network with random weights is a density like any other."""
    from inferkit_bayesflow import backend
    from inferkit_bayesflow.estimator import built

    backend.load("jax")
    config = BayesFlowConfig(inference="affine" if dim == 2 else "spline", layers=2, width=8,
                             **settings)
    machine = built(config, dim, Inputs({}, {}), [[3]], "jax", 0)
    rng = np.random.default_rng(0)
    machine.restore({"weights": [w + 0.3 * rng.standard_normal(w.shape).astype(np.float32)
                                 for w in machine.state()["weights"]]})
    c = np.full((1, 3), 0.5, np.float32)
    draws = machine.draw(rng.standard_normal((4000, dim), np.float32), np.repeat(c, 4000, 0), 1)
    centre, spread = np.median(draws, 0), 12 * draws.std(0)
    axes = [np.linspace(m - s, m + s, 4001 if dim == 1 else 401) for m, s in zip(centre, spread)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, dim)
    density = np.exp(machine.log_q(grid, np.repeat(c, len(grid), 0)))
    cell = np.prod([a[1] - a[0] for a in axes])
    assert abs(density.sum() * cell - 1) < 0.01
    mean = (grid * density[:, None]).sum(0) * cell
    assert np.allclose(mean, draws.mean(0), atol=4 * draws.std(0).max() / 4000**0.5 + 1e-3)


slow = pytest.mark.slow(reason="each network is compiled, which takes a quarter of a minute")


@pytest.mark.parametrize("summary", ["mlp", *(pytest.param(s, marks=slow) for s in (
    "cnn", "lstm", "gru", "time_series", "transformer"))])
def test_each_summary_network_learns_from_traces(tmp_path, summary):
    made = wave_study(tmp_path, 600)
    posterior = made.fit(estimator(summary=summary, epochs=6, rate=1e-2))
    loss = posterior.info["validation_loss"]
    assert min(loss) < loss[0] - 0.1
    x = made.held_out.x()
    summaries = posterior.engine.summaries(x)
    assert summaries.shape == (60, 4) and summaries.dtype == np.float64
    again = ik.load(posterior.save(tmp_path / "saved"))
    assert np.allclose(again.engine.summaries(x), summaries, atol=1e-6)
    theta, one = np.array([[1.0, 0.0], [0.5, 1.0]]), {"x": x["x"][0]}
    assert np.allclose(again.log_prob(theta, one), posterior.log_prob(theta, one), atol=1e-6)


@pytest.mark.parametrize("summary", ["deep_set", pytest.param("set_transformer", marks=slow)])
def test_sets_do_not_depend_on_the_order_of_trials(tmp_path, summary):
    def trials(theta, rng):
        return theta["b"] + theta["a"] * rng.standard_normal((8, 2))

    made = wave_study(tmp_path, 400, trials)
    posterior = made.fit(estimator(summary=summary, epochs=2))
    x = made.held_out.x()["x"]
    a, b = (posterior.engine.summaries({"x": v}) for v in (x, x[:, ::-1]))
    assert np.allclose(a, b, atol=1e-4) and not np.allclose(a[0], a[1], atol=1e-2)


@slow
def test_several_outputs_each_have_a_network_and_features_none(tmp_path):
    def two(theta, rng):
        return {"long": theta["a"] + 0.1 * rng.standard_normal(100),
                "other": theta["b"] + 0.1 * rng.standard_normal(100)}

    made = wave_study(tmp_path, 400, two, features=["raw", lambda x: {"peak": x["long"].max(-1)}])
    posterior = made.fit(estimator(epochs=20, rate=1e-2))
    truth, x = made.held_out.theta, made.held_out.x()
    assert posterior.engine.summaries(
        {**x, "features": made.view().of(made.held_out)["features"]}).shape == (40, 8)
    draws = posterior.sample(200, [{k: v[i] for k, v in x.items()} for i in range(40)])
    for name in ("a", "b"):
        assert np.corrcoef(draws[name].mean(1), truth[name])[0, 1] > 0.9


def test_without_a_summary_network_there_are_no_summaries(tmp_path):
    made = wave_study(tmp_path, 100, features=[lambda x: {"mean": x["x"].mean(-1)}])
    posterior = made.fit(estimator(epochs=1))
    assert posterior.engine.summaries(made.view().of(made.held_out)) is None


@slow
@pytest.mark.parametrize("summary", ["deep_set", "set_transformer"])
def test_trials_narrow_the_posterior_as_they_should(tmp_path, summary):
    """m trials of N(a, 1) under a ~ N(0, 1): the posterior is N(sum / (m + 1), 1 / (m + 1))."""
    def gauss(theta, rng):
        return theta["a"] + rng.standard_normal()

    made = ik.Study(gauss, ik.Prior({"a": ik.Normal(0.0, 1.0)}), trials=(2, 30), seed=3, quiet=True,
                    path=tmp_path / "run", executor=ik.executor("local", workers=0))
    made.simulate(2000)
    # Attention learns at a smaller rate.
    training = {"epochs": 12, "rate": 1e-2} if summary == "deep_set" else {"epochs": 40, "rate": 2e-3}
    posterior = made.fit(estimator(summary=summary, **training, located=True, summary_dim=8, width=32,
                                   summary_width=32))
    rng = np.random.default_rng(0)
    for m in (2, 8, 30):
        x = 0.5 + rng.standard_normal(m)
        draws = posterior.sample(1000, x)["a"]
        sd = (m + 1) ** -0.5
        assert abs(draws.mean() - x.sum() / (m + 1)) < 0.5 * sd and 0.75 < draws.std() / sd < 1.35
    again = ik.load(posterior.save(tmp_path / "saved"))
    assert np.allclose(again.sample(50, x, seed=1).values, posterior.sample(50, x, seed=1).values)
    with pytest.raises(ConfigError, match='"mlp" does not read sets of trials|mlp.* does not read'):
        made.fit(estimator(summary="mlp"))
