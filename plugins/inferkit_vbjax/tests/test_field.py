"""Fields: the sphere's transforms, vbjax's local coupling, movies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inferkit_vbjax import Monitor, movie
from inferkit_vbjax.config import FieldConfig
from inferkit_vbjax.field import Field, Sphere
from PIL import Image

import inferkit as ik
from inferkit.errors import ConfigError


def field(**settings):
    told = {"nlat": 16, "batch": 2, "precision": "float64", "sigma": 0.0}
    return Field(FieldConfig(**told | settings))


def resolved(rng, nlat, nlon, orders):
    """A field of which vbjax keeps all orders."""
    x = np.fft.rfft(rng.standard_normal((nlat, nlon)), axis=1)
    x[:, orders:] = 0
    return np.fft.irfft(x, axis=1)


def test_the_harmonics_are_orthonormal_and_the_kernel_s_own():
    sphere = Sphere(16, 32, 15)
    y = sphere.modes(6)
    share = np.repeat(sphere.weights, 32) / 64
    np.testing.assert_allclose((y.T * share) @ y, np.eye(49), atol=1e-12)
    np.testing.assert_allclose(y[:, 0], 1.0, rtol=1e-12)
    ell = np.repeat(np.arange(7), 2 * np.arange(7) + 1)
    D = 0.02
    n = D * ell * (ell + 1)
    with jax.enable_x64(True):
        for kernel, gains in {"laplace": -n, "heat": np.exp(-n), "screened": 1 / (1 + n)}.items():
            f = field(kernel=kernel)
            for j in range(49):
                got = np.asarray(f.local(jnp.asarray(y[:, j]), D)).ravel()
                np.testing.assert_allclose(got, gains[j] * y[:, j], atol=1e-10)


def test_the_harmonics_are_scipys():
    from scipy.special import sph_harm_y

    sphere = Sphere(12, 24, 11)
    y = sphere.modes(3)
    at = np.meshgrid(sphere.latitudes, sphere.longitudes, indexing="ij")
    for ell in range(4):
        for m in range(ell + 1):
            scipys = sph_harm_y(ell, m, *at).ravel() * np.sqrt(4 * np.pi) * (np.sqrt(2) if m else 1)
            np.testing.assert_allclose(y[:, ell**2 + ell + m], scipys.real, atol=1e-12)
            if m:
                np.testing.assert_allclose(y[:, ell**2 + ell - m], scipys.imag, atol=1e-12)


@pytest.mark.parametrize(("lmax", "nlat", "nlon"), [(31, 32, 64), (16, 32, 64), (10, 16, 40)])
def test_its_coupling_is_vbjaxs(lmax, nlat, nlon, vb):
    lc = vb.make_shtdiff(nlat=nlat, lmax=lmax, nlon=nlon, D=0.0004)
    x = resolved(np.random.default_rng(0), nlat, nlon, lmax)
    theirs = np.asarray(lc(jnp.asarray(x, jnp.float32)))
    with jax.enable_x64(True):
        f = field(kernel="vbjax", nlat=nlat, nlon=nlon, lmax=lmax)
        ours = np.asarray(f.local(jnp.asarray(x), 0.0004))
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(ours).max()


def test_without_noise_it_is_vbjax(vb):
    """The linear field of its inference example; vbjax leaves out order m = lmax."""
    nlat, nlon, rng = 16, 32, np.random.default_rng(1)
    lc = vb.make_shtdiff(nlat=nlat, lmax=15, nlon=nlon)
    x0 = 0.5 + 0.3 * resolved(rng, nlat, nlon, 12)
    _, loop = vb.make_ode(0.01, lambda x, k: -x + k * lc(x))
    theirs = np.asarray(loop(jnp.asarray(x0, jnp.float32), jnp.arange(100), 3.0))
    f = field(mass="linear", kernel="vbjax", initial={"x": "grid"}, duration=1.0, dt=0.01,
              monitors=(Monitor("subsample", name="x"),), defaults={"model.tau": 1.0})
    ours = f.simulate({"initial.x": x0[None], "coupling.k": np.r_[3.0]}, np.zeros(1))["x"][0]
    assert ours.shape == (100, 16, 32) and np.ptp(theirs[-1]) > 0.5
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_gradients_are_finite_differences():
    f = field(nlat=8, mass="linear", initial={"x": "modes"}, initial_degree=1, duration=3.0, sigma=0.1)
    with jax.enable_x64(True):
        run, key = f.jax_function(), jax.random.key(0)
        theta = {"initial.x": jnp.asarray(np.random.default_rng(0).standard_normal(4)),
                 "field.D": jnp.asarray(0.02), "coupling.k": jnp.asarray(0.7)}

        def loss(t):
            return jnp.sum(run(t, key)["field"][-1] ** 2)

        slope, loss = jax.jit(jax.grad(loss))(theta), jax.jit(loss)
        for name, value in theta.items():
            for i in np.ndindex(value.shape):
                h = 1e-5
                up, down = (loss({**theta, name: value.at[i].add(d)}) for d in (h, -h))
                numeric = float(up - down) / (2 * h)
                assert abs(float(slope[name][i]) - numeric) < 1e-5 * max(1, abs(numeric)), (name, i)


def test_a_movie_is_a_gif(tmp_path):
    f = field(nlat=8, duration=5.0, sigma=0.2)
    x = f.simulate({}, np.zeros(1))["field"]
    file = movie(x[0], tmp_path / "field.gif", scale=4)
    with Image.open(file) as picture:
        assert (picture.format, picture.size, picture.n_frames) == ("GIF", (64, 32), 5)
    with pytest.raises(ConfigError, match="time, latitude, longitude"):
        movie(x, tmp_path / "other.gif")


@pytest.mark.parametrize(("settings", "says"), [
    ({"lmax": 16}, "nlat - 1"), ({"nlon": 20}, "above 2 lmax"),
    ({"initial": {"q": "grid"}}, "unknown state"),
    ({"initial": {"r": "waves"}}, "uniform, grid, modes"), ({"kernel": "hat"}, "screened"),
    ({"initial": {"r": "modes"}, "initial_degree": 40}, "up to lmax"),
    ({"monitors": [{"kind": "covariance"}]}, "would not fit")])
def test_errors_say_what_is_wrong(settings, says):
    with pytest.raises(ConfigError, match=says):
        ik.simulator("vbjax-field", **{"nlat": 16, **settings}).build()
