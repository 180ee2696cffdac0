"""What a family of distributions is, and the base that makes one short to write.

`Family` is the promise.  A third party may keep it in any way; the short way is `Univariate`:

    from inferkit.prior import Univariate, family

    @family("laplace")
    class Laplace(Univariate):
        "p(x) = exp(-|x - loc| / scale) / (2 scale)"
        loc: float
        scale: float
        positive = ("scale",)

        def log_density(self, x):
            return -abs(x - self.loc) / self.scale - np.log(2 * self.scale)

        def distribution(self, x): ...      # P(X <= x)
        def quantile(self, q): ...          # its inverse

Inside these functions `self.loc` is a number or an array that broadcasts against x; the base does
the rest: checks, vectors, units, values off the support, sampling, the maps, the config, and
arguments that are expressions over other parameters (one value a row of the batch).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from inferkit.prior import bijections
from inferkit.prior.record import Fault, Record, first


@runtime_checkable
class Family(Protocol):
    """A proper distribution of one named parameter, a scalar or an array of `shape`.

    `values` are (n, *shape).  `log_prob` gives (n,), -inf off the support, normalised.  `cdf` maps
    values into the unit cube (n, *shape), `ppf` back; for dependent elements that is the Rosenblatt
    map.  `support` is (low, high), each broadcasting to `shape`.  `discrete` families have an
    identity as bijection.  `to_config` is plain data with the key "family", and the class called
    with the rest as keywords gives an equal record.
    """

    family: str
    unit: str
    shape: tuple[int, ...]

    @property
    def discrete(self) -> bool: ...
    @property
    def support(self) -> tuple[Any, Any]: ...
    @property
    def bijection(self) -> bijections.Bijection: ...
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray: ...
    def log_prob(self, values: Any) -> np.ndarray: ...
    def contains(self, values: Any) -> np.ndarray: ...
    def cdf(self, values: Any) -> np.ndarray: ...
    def ppf(self, u: Any) -> np.ndarray: ...
    def to_config(self) -> dict: ...


class Univariate(Record):
    """Independent elements.  A subclass writes `limits`, `log_density`, `distribution`, `quantile`.

    They are called with arrays and may return anything off the support: the base masks it.
    """

    def limits(self) -> tuple[Any, Any]:
        """The lower and upper end of the support."""
        return -np.inf, np.inf

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """log p(x), element by element, inside the support."""
        raise NotImplementedError

    def distribution(self, x: np.ndarray) -> np.ndarray:
        """P(X <= x)."""
        raise NotImplementedError

    def quantile(self, q: np.ndarray) -> np.ndarray:
        """The smallest x with P(X <= x) >= q."""
        raise NotImplementedError

    def draw(self, size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Draws, by inversion unless a subclass knows better."""
        return self.quantile(np.maximum(rng.random(size), 2.0**-54))

    def inside(self, x: np.ndarray) -> np.ndarray:
        """Whether each element lies in the (closed) support."""
        low, high = self.limits()
        return (x >= low) & (x <= high) & np.isfinite(x)

    @property
    def support(self) -> tuple[Any, Any]:
        self._values(np.zeros(self.shape))
        return self.limits()

    @property
    def bijection(self) -> bijections.Bijection:
        return bijections.Identity() if self.discrete else bijections.onto(*self.support)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        size = (n, *self.shape)
        self._values(np.zeros(self.shape))
        with np.errstate(all="ignore"):  # a draw of a heavy tail may overflow; the clip bounds it
            x = np.asarray(self.draw(size, rng), dtype=np.float64).reshape(size)
        # A draw that rounds onto an edge may have an infinite density there.
        return x if self.discrete else bijections.open_clip(x, *self.limits())

    def contains(self, values: Any) -> np.ndarray:
        return self._over(np.all, self.inside(self._values(values)))

    def log_prob(self, values: Any) -> np.ndarray:
        x = self._values(values)
        with np.errstate(all="ignore"):
            return self._over(np.sum, np.where(self.inside(x), self.log_density(x), -np.inf))

    def cdf(self, values: Any) -> np.ndarray:
        low, high = self.support
        x = self._values(values)
        with np.errstate(all="ignore"):
            inner = np.clip(self.distribution(np.clip(x, low, high)), 0.0, 1.0)
        return np.where(x < low, 0.0, np.where(x >= high, 1.0, inner))

    def ppf(self, u: Any) -> np.ndarray:
        u = self._values(u)
        with np.errstate(all="ignore"):
            x = np.clip(self.quantile(u), *self.limits())
        return np.where((u >= 0) & (u <= 1), x, np.nan)


def ordered(record: Record, low: str = "low", high: str = "high") -> Iterator[Fault]:
    """The rule low < high."""
    a, b = record.numbers(low), record.numbers(high)
    if a is None or b is None:
        return
    bad = a >= b
    x, y = first(np.broadcast_to(a, bad.shape), bad), first(np.broadcast_to(b, bad.shape), bad)
    name = type(record).__name__
    swap = f"{name}({low}={y}, {high}={x})" if x != y else None
    wrong = "reversed" if x != y else "equal"
    yield Fault(bad, f"the bounds are {wrong}: {low}={x}, {high}={y}", f"{low} < {high}", swap)
