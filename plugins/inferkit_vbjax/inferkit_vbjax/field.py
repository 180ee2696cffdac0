"""`vbjax-field`: a neural field on the sphere, its local coupling a filter of spherical harmonics.

    dx_i = f(x_i, k (K s(x))_i; p) dt + sigma dW_i,      K Y_lm = kappa(D, l) Y_lm

K is applied on a grid of Gauss latitudes and even longitudes in four products: a Fourier transform
along each latitude, for each order m a Legendre transform to degrees l, and both back, all real and
all with rows last.  On this grid they are exact up to degree lmax; higher degrees of s are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inferkit.data import Output, Parameter
from inferkit.errors import ConfigError
from inferkit_vbjax.batch import Batches
from inferkit_vbjax.config import FieldConfig
from inferkit_vbjax.masses import MASSES
from inferkit_vbjax.network import Plan
from inferkit_vbjax.simulator import Watch, declarations, known_state, noisy_states, place, wave, whole

KERNELS: dict[str, Callable] = {
    "laplace": lambda D, ell: -D * ell * (ell + 1),
    "heat": lambda D, ell: jnp.exp(-D * ell * (ell + 1)),
    "screened": lambda D, ell: 1 / (1 + D * ell * (ell + 1)),
    # make_shtdiff lists degree l once for each of its l + 1 orders, and keeps harmonics' norm of 1
    # over the sphere in a quadrature over latitudes.
    "vbjax": lambda D, ell: D * ell * (ell + 1) * (ell + 1) / (2 * np.pi),
}


class Sphere:
    """The grid, and the matrices of its transforms.

    fourier (2 (lmax + 1), nlon): rows of cos, then sin; legendre (lmax + 1, degrees, nlat) for order
    m, zero where l < m; weights (nlat,) of the latitudes' quadrature, which sum to 2.
    """

    def __init__(self, nlat: int, nlon: int, lmax: int):
        from scipy.special import sph_legendre_p_all

        x, self.weights = np.polynomial.legendre.leggauss(nlat)
        self.latitudes = np.arccos(-x)  # from pole to pole
        self.longitudes = 2 * np.pi * np.arange(nlon) / nlon
        self.lmax, self.shape = lmax, (nlat, nlon)
        made = sph_legendre_p_all(lmax, lmax, self.latitudes)[0]  # (l, m, nlat), m < 0 wrapped
        made = np.moveaxis(np.asarray(made)[:, : lmax + 1], 1, 0)
        # Orthonormal over the latitudes alone: the longitudes are left to the Fourier part.
        self.legendre = made * np.sqrt(2 * np.pi)
        turns = np.arange(lmax + 1)[:, None] * self.longitudes
        self.fourier = np.concatenate([np.cos(turns), np.sin(turns)])
        # Synthesis undoes analysis: 1 / nlon for m = 0, 2 / nlon for the others.
        share = np.r_[1.0, np.full(lmax, 2.0)] / nlon
        self.back = self.fourier * np.tile(share, 2)[:, None]

    def filter(self, gains: Any, dtype: Any) -> Callable:
        """x (points, rows) -> K x, for gains (lmax + 1, 1 or rows) of the degrees.

        Where all rows have the same gains, to degrees and back is one product for each order.
        """
        nlat, nlon = self.shape
        orders = self.lmax + 1
        there, back = (jnp.asarray(m, dtype) for m in (self.fourier, self.back))
        to_degrees = jnp.asarray(self.legendre * self.weights, dtype)
        legendre = jnp.asarray(self.legendre, dtype)
        alike = gains.shape[1] == 1
        between = jnp.einsum("mli,l,mlj->mij", legendre, gains[:, 0], to_degrees) if alike else None

        def one(x):  # matrix products without an axis for rows, which are much faster
            waves = (x.reshape(nlat, nlon) @ there.T).reshape(nlat, 2, orders)
            waves = jnp.einsum("mij,jcm->icm", between, waves)
            return (waves.reshape(nlat, 2 * orders) @ back).reshape(-1, 1)

        def many(x):
            rows = x.shape[-1]
            waves = jnp.einsum("fo,ior->fir", there, x.reshape(nlat, nlon, rows))
            waves = waves.reshape(2, orders, nlat, rows)
            if alike:
                waves = jnp.einsum("mij,cmjr->cmir", between, waves)
            else:
                degrees = jnp.einsum("mli,cmir->cmlr", to_degrees, waves)
                waves = jnp.einsum("mli,cmlr->cmir", legendre, degrees * gains)
            y = jnp.einsum("fo,fir->ior", back, waves.reshape(2 * orders, nlat, rows))
            return y.reshape(nlat * nlon, rows)

        return lambda x: one(x) if alike and x.shape[-1] == 1 else many(x)

    def degrees(self) -> np.ndarray:
        return np.arange(self.lmax + 1.0)[:, None]

    def modes(self, degree: int) -> np.ndarray:
        """(points, (degree + 1)^2) real harmonics, unit mean square: for each l, m = -l … l."""
        columns = []
        for ell in range(degree + 1):
            for m in range(-ell, ell + 1):
                p = self.legendre[abs(m), ell]
                wave = np.sin(-m * self.longitudes) if m < 0 else np.cos(m * self.longitudes)
                columns.append(np.sqrt(2.0 if m == 0 else 4.0) * np.outer(p, wave).ravel())
        return np.stack(columns, 1)


class Field:
    """A field as a simulator; parameters of the mass, `field.D`, `coupling.k`, noise and beginning."""

    def __init__(self, config: FieldConfig | None = None):
        c = self.config = config or FieldConfig()
        mass = self.mass = MASSES[c.mass]
        lmax = c.lmax or c.nlat - 1
        sphere = self.sphere = Sphere(c.nlat, c.nlon or 2 * c.nlat, lmax)
        points = c.nlat * sphere.shape[1]
        transient, steps = whole(c.transient / c.dt), max(1, whole(c.duration / c.dt))
        watch = Watch(c.monitors, mass, points, c.dt, steps, transient, c.precision)
        declared, widths = self._declare(points)
        self.parameters, noisy = noisy_states(c, mass, declared)
        self.outputs = tuple(self._on_grid(o, points) for o in watch.outputs)
        kernel, dtype = KERNELS[c.kernel], np.dtype(c.precision)
        ells = sphere.degrees().astype(dtype)

        def local(p):
            felt = sphere.filter(kernel(p["field.D"], ells), dtype)
            return lambda source: p["coupling.k"] * felt(source)

        self.plan = Plan(
            mass, points, {mass.default_input: None}, None, "linear", c.dt, c.method == "heun",
            transient, watch.steps, watch.frame, noisy, watch.start, wave(c.stimulus),
            place(c.stimulus, mass, points), dtype, local)
        self.batches = Batches(
            self.plan, self.parameters, self.outputs, who="vbjax-field", stochastic=bool(noisy),
            batch=c.batch, precision=c.precision, block=c.block, noise_seed=c.noise_seed,
            widths=widths, expand=self._expand)
        self.stochastic = bool(noisy) and c.noise_seed is None

    def _declare(self, points: int) -> tuple[tuple[Parameter, ...], dict[str, int]]:
        c, mass = self.config, self.mass
        values: dict[str, Any] = {f"model.{k}": v for k, v in mass.parameters.items()}
        values |= {"coupling.k": 1.0, "field.D": 0.0004}
        values["noise.sigma"] = mass.sigma if c.sigma is None else c.sigma
        values |= {f"initial.{k}": v for k, v in mass.initial.items()}
        if c.stimulus is not None:
            values["stimulus.amplitude"] = c.stimulus.amplitude
        self._modes: np.ndarray = np.zeros((points, 0))
        if "modes" in (c.initial or {}).values():
            if c.initial_degree > self.sphere.lmax:
                raise ConfigError(f"initial_degree is {c.initial_degree}",
                                  allowed=f"up to lmax = {self.sphere.lmax}")
            self._modes = self.sphere.modes(c.initial_degree)
        shapes, widths = {}, {}
        for state, how in (c.initial or {}).items():
            known_state(state, mass.states, "initial")
            name = f"initial.{state}"
            if how == "grid":
                shapes[name] = self.sphere.shape
            elif how == "modes":  # the first mode is the mean
                width = widths[name] = self._modes.shape[1]
                shapes[name] = (width,)
                values[name] = np.r_[values[name], np.zeros(width - 1)]
        return declarations(values, c.defaults or {}, shapes, mass.units), widths

    def _expand(self, name: str, value: Any) -> Any:
        if len(value) > 1 and len(value) == self.batches.widths.get(name):
            return jnp.asarray(self._modes, self.plan.dtype) @ value
        return value

    def _on_grid(self, output: Output, points: int) -> Output:
        if output.shape is None or output.shape[-1] != points or output.dims[-1] != "node":
            return output
        return Output(output.name, (*output.shape[:-1], *self.sphere.shape), output.dtype, output.unit,
                      (*output.dims[:-1], "latitude", "longitude"), output.axis, output.axis_unit)

    def simulate(self, theta: Mapping[str, Any], seeds: np.ndarray) -> dict[str, np.ndarray]:
        return self.batches.simulate(theta, seeds)

    def prepare(self) -> None:
        self.batches.prepare()

    def jax_function(self):
        return self.batches.jax_function()

    def jax_latent(self):
        return self.batches.jax_latent()

    def local(self, x: jax.Array, D: float) -> jax.Array:
        """K x of one field (nlat, nlon)."""
        gains = jnp.asarray(KERNELS[self.config.kernel](D, self.sphere.degrees()), x.dtype)
        return self.sphere.filter(gains, x.dtype)(x.reshape(-1, 1)).reshape(self.sphere.shape)


def movie(frames: Any, file: str | Path, *, low: float | None = None, high: float | None = None,
          seconds: float = 0.1, scale: int = 6, colours: str = "viridis") -> Path:
    """An animated GIF of fields (time, latitude, longitude)."""
    import matplotlib
    from PIL import Image

    frames = np.asarray(frames, float)
    if frames.ndim != 3 or not len(frames):
        raise ConfigError(f"frames of shape {frames.shape}", allowed="(time, latitude, longitude)",
                          fix='movie(x["field"][0], "field.gif")')
    low = np.nanmin(frames) if low is None else low
    high = np.nanmax(frames) if high is None else high
    shades = (frames - low) / (high - low if high > low else 1.0)
    pictures = matplotlib.colormaps[colours](np.clip(shades, 0, 1), bytes=True)[..., :3]
    images = [Image.fromarray(np.kron(p, np.ones((scale, scale, 1), np.uint8))) for p in pictures]
    path = Path(file)
    images[0].save(path, save_all=True, append_images=images[1:], duration=int(1000 * seconds), loop=0)
    return path
