"""The original's configs and array files in, its results file out."""

import inferkit_mrsds
import numpy as np
import pytest
from inferkit_mrsds.selection import choose
from scipy.io import loadmat, savemat

import inferkit as ik

TOY = """
data: {data_source: mydata, inputs: 2, tlim: null}
model:
  uz: false
  sz: false
  xz: true
  ux: true
  xic: {layers: [], triangular_cov: false}
  xtransition:
    zcond: true
    dynamics: {communication_type: additive, input_type: additive, input_func_type: seperate,
               layers: [32, 32], activations: [relu, relu, null]}
    inputs: {layers: [4], activations: [relu, null]}
  emissions: {dist: gaussian, layers: [], activations: [], final_activation: null}
inference:
  embedding: {layers: [8]}
  transformer_params: {head_size: 35, num_heads: 3, ff_dim: 4, num_transformer_blocks: 1, mlp_units:
  [32]}
training: {batch_size: 64, num_steps: 2001, num_steps_do: 3001, dynamics_only: true, learning_rate:
0.01,
           flat_learning_rate: false, lr_warmup_steps: 500, beta_max: 100, beta_warmup_steps: 100,
           dropout: false, test_perc: 0.1, mystery: 3}
"""


def test_a_config_of_the_original(tmp_path):
    (tmp_path / "toy.yaml").write_text(TOY)
    with pytest.warns(UserWarning) as told:
        settings = inferkit_mrsds.import_config(tmp_path / "toy.yaml", K=2, d=2, mtype="s-svae")
    said = " ".join(str(w.message) for w in told)
    for dead in ("flat_learning_rate", "model.sz", "xic.layers", "training.mystery"):
        assert dead in said
    c = ik.estimator("mrsds", **settings).config
    assert (c.inference, c.K, c.dynamics.zcond, c.dynamics.layers) == ("s-svae", 2, True, (32, 32))
    assert (c.training.steps, c.training.second_steps, c.training.batch) == (2001, 3001, 64)
    assert (c.encoder.heads, c.encoder.head_size, c.dynamics.input_layers) == (3, 35, (4,))
    assert c.dynamics.activation == "relu" and not c.dynamics.uz and c.training.drop == 0


def test_configs_that_are_none(tmp_path):
    (tmp_path / "a.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(ik.errors.ConfigError, match="holds list"):
        inferkit_mrsds.import_config(tmp_path / "a.yaml", K=2, d=2)
    with pytest.raises(ik.errors.ConfigError, match="mean_field"):
        inferkit_mrsds.import_config({}, K=2, d=2, mtype="mean_field")


def test_array_files(tmp_path):
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((T, 3)) for T in (5, 7)]
    cells = np.empty(2, object)
    cells[:] = rows
    savemat(tmp_path / "a.mat", {"ys": cells, "region_sizes": [2, 1], "other": 1})
    found = inferkit_mrsds.read(tmp_path / "a.mat")
    assert [len(y) for y in found["ys"]] == [5, 7] and list(found["region_sizes"]) == [2, 1]
    np.savez(
        tmp_path / "a.npz", ys=np.stack([rows[0], rows[0]]), region_sizes=[2, 1], zs=np.zeros((2, 5))
    )
    assert inferkit_mrsds.read(tmp_path / "a.npz")["zs"].shape == (2, 5, 1)
    np.savez(tmp_path / "b.npz", ys=cells, region_sizes=[2, 1])
    with pytest.raises(ik.errors.DataError, match="pickled"):
        inferkit_mrsds.read(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", y=rows[0])
    with pytest.raises(ik.errors.DataError, match="ys, us"):
        inferkit_mrsds.read(tmp_path / "c.npz")
    with pytest.raises(ik.errors.DataError, match=".npz, .mat"):
        inferkit_mrsds.read(tmp_path / "c.csv")


def test_results_under_the_original_names(fitted, tmp_path):
    held = loadmat(inferkit_mrsds.export_mat(fitted, tmp_path / "x_latents.mat"))
    n, T = len(fitted.train), fitted.data.y.shape[1]
    assert held["xs_train"].shape == (n, T, 4) and held["zs_train"].shape == (n, T, 2)
    assert held["msgs_test"].shape == (len(fitted.test), T, 2, 3, 2)
    assert held["ys_recon_test"].shape == (len(fitted.test), T, 18)
    assert np.allclose(np.exp(held["zs_logprob"]), held["zs_train"], atol=1e-6)
    assert held["loga_train"].shape == (n, T, 2, 2) and held["logb_test"].shape[1:] == (T, 2)
    assert np.allclose(np.exp(held["loga_train"][:, 1:]).sum(-1), 1, atol=1e-4)
    assert 0 < held["test_gen1_r2s"] < held["test_r2s"] <= 1
    looks = len(fitted.info["loss"])
    assert all(held[k].size == looks for k in ("elbos", "log_pys", "lrs", "temps"))
    assert np.allclose(held["elbos"], held["log_pys"] + held["log_pxs"] - held["log_qxs"], rtol=1e-4)
    assert list(held["test_ids"].ravel()) == list(fitted.test)


def row(K, d, r2, seed=0, status="ok"):
    return {"K": K, "d": d, "seed": seed, "cosmooth_r2": r2, "elbo": 0.0, "status": status}


def test_the_smallest_model_that_is_as_good():
    assert choose([row(1, 2, 0.80), row(2, 2, 0.95), row(3, 2, 0.951), row(2, 3, 0.9)]) == (2, 2)
    assert choose([row(1, 1, 0.5), row(2, 2, 0.9, status="error")]) == (1, 1)


def test_selection_over_an_executor(tmp_path):
    x = ik.simulator("double-well", neurons=[5, 5], bins=30).build().dataset(12)
    data = {k: x[k] for k in ("ys", "us", "region_sizes")}
    t = {"steps": 10, "evaluate": 10, "warmup": 2, "batch": 8, "restarts": 1}

    def select():
        return inferkit_mrsds.select(data, K=[1], d=[1], seeds=(0, 1), path=tmp_path / "s", quiet=True,
                                     training=t, inference="svae",
                                     executor=ik.executor("local", workers=0))

    found = select()
    assert len(found.rows) == 2 and found.best == (1, 1) and "choose K = 1" in str(found)
    assert [r["cosmooth_r2"] for r in select().rows] == [r["cosmooth_r2"] for r in found.rows]
