"""The families that are not one formula an element: choices, correlated normals, scipy's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from inferkit.errors import PriorError, closest
from inferkit.prior import bijections
from inferkit.prior.base import Univariate
from inferkit.prior.record import Fault, Record, Value, encode, family


@family("choice")
class Choice(Univariate):
    """One of some numbers: P(x = options[i]) = probabilities[i] (equal where not given)."""

    options: Value
    probabilities: Value = None
    literal = ("options", "probabilities")
    discrete = True

    def read(self, name: str, value: Any) -> Any:
        if name == "probabilities" and value is None:
            return None
        kept = super().read(name, value)
        if np.ndim(kept) != 1:
            raise self._error(f"{name} is {value!r}", "a list of numbers", f"{name}=[1, 2, 5]")
        return kept

    def faults(self) -> Iterator[Fault]:
        x, p = self.options, self.probabilities
        yield Fault(~np.isfinite(x).all(), "an option is not finite", "finite numbers")
        twice = np.array(len(np.unique(x)) < len(x))
        yield Fault(twice, f"options occur twice in {x.tolist()}", "each option once")
        if p is None:
            return
        wrong = np.array(len(p) != len(x))
        yield Fault(wrong, f"{len(p)} probabilities for {len(x)} options", "one an option")
        yield Fault(~(p >= 0).all(), f"probabilities are {p.tolist()}", "numbers >= 0")
        even = [round(v, 6) for v in (p / (p.sum() or 1.0)).tolist()]
        fix = f"probabilities={even}" if p.sum() > 0 else None
        off = np.array(not abs(p.sum() - 1) <= 1e-6)
        yield Fault(off, f"probabilities sum to {p.sum():g}", "a sum of 1", fix)

    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        order = np.argsort(self.options)
        p = np.ones(len(order)) if self.probabilities is None else self.probabilities[order]
        p = p / p.sum()
        total = np.cumsum(p)
        total[-1] = 1.0
        return self.options[order], p, total

    def limits(self):
        return self.options.min(), self.options.max()

    def inside(self, x):
        return np.isin(x, self.options)

    def log_density(self, x):
        options, p, _ = self._table()
        return np.log(p)[np.clip(np.searchsorted(options, x), 0, len(p) - 1)]

    def distribution(self, x):
        options, _, total = self._table()
        return np.concatenate([[0.0], total])[np.searchsorted(options, x, side="right")]

    def quantile(self, q):
        options, _, total = self._table()
        return options[np.minimum(np.searchsorted(total, q), len(options) - 1)]


@family("multivariate_normal")
class MultivariateNormal(Record):
    """p(x) = exp(-|z|^2 / 2) / ((2 pi)^(d/2) det L), z = L^-1 (x - mean), L L^T = cov.

    The unit cube is reached through Phi(z), the Rosenblatt map in the order of the elements.
    """

    mean: Value
    cov: Value
    literal = ("cov",)

    def argument_shape(self, name: str, value: Any) -> tuple[int, ...]:
        if isinstance(value, str):
            return ()
        return np.shape(value)[:-1] if name == "cov" else np.shape(value)

    def read(self, name: str, value: Any) -> Any:
        kept = super().read(name, value)
        shape = np.shape(kept)
        if name == "cov" and (len(shape) < 2 or shape[-1] != shape[-2]):
            raise self._error(
                f"cov has the shape {shape}", "a square matrix", "cov=[[1.0, 0.5], [0.5, 1.0]]"
            )
        return kept

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        cov = np.asarray(self.cov)
        bad = np.asarray(~np.isfinite(cov).all(axis=(-1, -2)))
        yield Fault(bad[..., None], "cov is not finite", "finite numbers")
        same = np.isclose(cov, np.swapaxes(cov, -1, -2), rtol=1e-8, atol=0)
        skew = np.asarray(~same.all(axis=(-1, -2)))
        yield Fault(skew[..., None], "cov is not symmetric", "cov[i][j] = cov[j][i]")
        with np.errstate(all="ignore"):
            smallest = np.linalg.eigvalsh(np.where(np.isfinite(cov), cov, 0.0))[..., 0]
        yield Fault(
            np.asarray(~(smallest > 0))[..., None],
            f"cov is not positive definite (its smallest eigenvalue is {np.min(smallest):.3g})",
            "a positive definite matrix",
        )

    def _root(self) -> np.ndarray:
        return np.linalg.cholesky(self.cov)

    def _white(self, x: np.ndarray, root: np.ndarray) -> np.ndarray:
        inverse = np.linalg.solve(root, np.broadcast_to(np.eye(root.shape[-1]), root.shape))
        return np.einsum("...ij,...j->...i", inverse, x - self.mean)

    def _colour(self, z: np.ndarray) -> np.ndarray:
        return self.mean + np.einsum("...ij,...j->...i", self._root(), z)

    @property
    def support(self):
        return -np.inf, np.inf

    @property
    def bijection(self) -> bijections.Bijection:
        return bijections.Identity()

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        self._values(np.zeros(self.shape))
        return self._colour(rng.standard_normal((n, *self.shape)))

    def contains(self, values: Any) -> np.ndarray:
        return self._over(np.all, np.isfinite(self._values(values)))

    def log_prob(self, values: Any) -> np.ndarray:
        x, root = self._values(values), self._root()
        log_det = np.log(np.diagonal(root, axis1=-2, axis2=-1))
        with np.errstate(all="ignore"):
            each = -0.5 * self._white(x, root) ** 2 - log_det - 0.5 * np.log(2 * np.pi)
        return np.where(self.contains(x), self._over(np.sum, each), -np.inf)

    def cdf(self, values: Any) -> np.ndarray:
        from scipy.special import ndtr

        return ndtr(self._white(self._values(values), self._root()))

    def ppf(self, u: Any) -> np.ndarray:
        from scipy.special import ndtri

        return self._colour(ndtri(self._values(u)))


def frozen_scipy(value: Any) -> bool:
    """Whether a value is a frozen univariate scipy.stats distribution, found without scipy."""
    return hasattr(value, "rvs") and hasattr(value, "ppf") and hasattr(value, "dist")


@family("scipy")
class Scipy(Univariate):
    """Any frozen univariate distribution of scipy.stats, continuous or discrete.

    In a study file: dist = "weibull_min", args = [2.0], kwds = {scale = 3.0}.
    """

    dist: Value
    args: Value = ()
    kwds: Value = None
    literal = ("dist", "args", "kwds")

    def __post_init__(self):
        if isinstance(self.dist, str):
            object.__setattr__(self, "dist", self._freeze())
        if not frozen_scipy(self.dist):
            raise self._error(
                f"dist is {self.dist!r}",
                "a frozen univariate distribution of scipy.stats",
                "Scipy(scipy.stats.weibull_min(2.0))",
            )
        # From here on the frozen distribution says all.
        object.__setattr__(self, "args", tuple(self.dist.args))
        object.__setattr__(self, "kwds", dict(self.dist.kwds))
        super().__post_init__()

    def _freeze(self) -> Any:
        import scipy.stats as st

        kinds = (st.rv_continuous, st.rv_discrete)
        known = [k for k, v in vars(st).items() if isinstance(v, kinds)]
        if self.dist not in known:
            near = closest(self.dist, known)
            raise self._error(
                f"scipy.stats has no univariate distribution {self.dist!r}",
                "names such as norm, weibull_min, poisson",
                f"did you mean {near!r}?" if near else None,
            )
        try:
            return getattr(st, self.dist)(*self.args, **(self.kwds or {}))
        except TypeError as err:
            raise self._error(f"{self.dist} does not take these arguments: {err}") from None

    def read(self, name: str, value: Any) -> Any:
        return value  # __post_init__ has looked at all of them

    def argument_shape(self, name: str, value: Any) -> tuple[int, ...]:
        if name == "dist":
            return ()
        values = value.values() if isinstance(value, dict) else value
        return np.broadcast_shapes(*(np.shape(v) for v in values))

    def faults(self) -> Iterator[Fault]:
        low, high = self.dist.support()
        bad = ~(np.asarray(low) <= np.asarray(high))  # scipy answers NaN to arguments out of range
        yield Fault(bad, f"scipy refuses the arguments of {self.text}", "arguments in their range")

    def to_config(self) -> dict:
        import scipy.stats as st

        name = getattr(self.dist.dist, "name", None)
        if type(getattr(st, str(name), None)) is not type(self.dist.dist):
            raise PriorError(
                f"a distribution of your own ({name}) cannot be written to a study file",
                allowed="scipy.stats' named distributions, or a family registered by a plugin",
            )
        config: dict[str, Any] = {"family": self.family, "dist": name}
        if self.args:
            config["args"] = [encode(v) for v in self.args]
        if self.kwds:
            config["kwds"] = {k: encode(v) for k, v in sorted(self.kwds.items())}
        if self.unit:
            config["unit"] = self.unit
        given = [self.argument_shape(a, getattr(self, a)) for a in ("args", "kwds")]
        if self.shape != np.broadcast_shapes(*given):
            config["shape"] = list(self.shape)
        return config

    @property
    def text(self) -> str:
        parts = [*map(str, self.args), *(f"{k}={v}" for k, v in self.kwds.items())]
        return f"Scipy({getattr(self.dist.dist, 'name', '?')}({', '.join(parts)}))"

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        return hasattr(self.dist.dist, "pmf")

    @property
    def quick(self) -> bool:  # type: ignore[override]
        from scipy.stats import rv_continuous

        return getattr(type(self.dist.dist), "_ppf", None) is not rv_continuous._ppf

    def limits(self):
        return self.dist.support()

    def inside(self, x):
        if self.discrete:
            return np.isfinite(x) & (self.dist.pmf(np.where(np.isfinite(x), x, 0.0)) > 0)
        return super().inside(x)

    def log_density(self, x):
        return self.dist.logpmf(x) if self.discrete else self.dist.logpdf(x)

    def distribution(self, x):
        return self.dist.cdf(x)

    def quantile(self, q):
        return self.dist.ppf(q)

    def draw(self, size, rng):
        return self.dist.rvs(size=size, random_state=rng)
