"""A family as a frozen record of its arguments: read, checked, broadcast, written, shown."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, dataclass_transform

import numpy as np

from inferkit.errors import PriorError, names_keywords
from inferkit.prior import bijections
from inferkit.prior.expressions import parse

Value = Any  # a number, an array of numbers, or an expression over other parameters
_INFINITE = {"inf": np.inf, "+inf": np.inf, "-inf": -np.inf}  # JSON has no word for them


class Fault(NamedTuple):
    """A broken rule: where (it broadcasts to the shape), what it is, what would be right."""

    where: np.ndarray
    what: str
    allowed: str
    fix: str | None = None


_lenient: ContextVar[bool] = ContextVar("inferkit_prior_lenient", default=False)


@contextmanager
def lenient():
    """Build families without the check of their values; the caller asks for `faults` himself."""
    token = _lenient.set(True)
    try:
        yield
    finally:
        _lenient.reset(token)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def family(name: str):
    """Make a class a frozen record that is called `name` in study files."""

    def make(cls):
        cls.family = name
        made: Any = dataclass(frozen=True, eq=False, repr=False)(cls)
        made.__init__ = names_keywords(made.__init__)
        return made

    return make


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """A family as a frozen record of its arguments; `unit` and `shape` are keywords of all."""

    unit: str = field(default="", kw_only=True)
    shape: tuple[int, ...] = field(default=(), kw_only=True)

    family: ClassVar[str] = ""
    discrete: ClassVar[Any] = False
    positive: ClassVar[tuple[str, ...]] = ()  # arguments that must be > 0
    infinite: ClassVar[tuple[str, ...]] = ()  # arguments that may be infinite
    literal: ClassVar[tuple[str, ...]] = ()  # arguments that take no expression
    quick: ClassVar[Any] = True  # `ppf` costs no root search

    def __post_init__(self):
        for name in self.arguments:
            object.__setattr__(self, name, self.read(name, getattr(self, name)))
        if not isinstance(self.unit, str):
            raise self._error(f"unit is {self.unit!r}", 'a text such as "mV"')
        object.__setattr__(self, "shape", self._full_shape())
        if not _lenient.get():
            self.check()

    # -- the record ---------------------------------------------------------------------------

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(f.name for f in fields(self) if f.name not in ("unit", "shape"))

    @property
    def parents(self) -> tuple[str, ...]:
        """The parameters that the arguments' expressions read."""
        texts = (getattr(self, a) for a in self.arguments if a not in self.literal)
        return tuple(dict.fromkeys(n for t in texts if isinstance(t, str) for n in parse(t).names))

    def read(self, name: str, value: Any) -> Any:
        """An argument as it is kept: a float, a read-only array or an expression's text."""
        if isinstance(value, str) and value.strip() in _INFINITE:
            return _INFINITE[value.strip()]
        if isinstance(value, str):
            if name in self.literal:
                raise self._error(f"{name} is the text {value!r}", "numbers")
            if not parse(value).names:
                raise self._error(
                    f"{name} is the text {value!r}, which names no parameter",
                    "a number, or an expression over other parameters",
                    f"{name}={value.strip()} without quotes",
                )
            return value
        if isinstance(value, (list, tuple)):
            value = _decode(value)
        try:
            array = np.array(value)
        except ValueError:
            array = np.array(None)
        if array.dtype.kind not in "iuf" or array.size == 0:
            raise self._error(
                f"{name} is {value!r} ({type(value).__name__})",
                "a number, an array of numbers, or an expression over other parameters",
            )
        if array.ndim == 0:
            return float(array)
        array = array.astype(np.float64)
        array.setflags(write=False)
        return array

    def argument_shape(self, name: str, value: Any) -> tuple[int, ...]:
        """The shape that an argument gives to the parameter."""
        return () if name in self.literal or isinstance(value, str) else np.shape(value)

    def _full_shape(self) -> tuple[int, ...]:
        want = (self.shape,) if isinstance(self.shape, (int, np.integer)) else self.shape
        try:
            want = tuple(int(k) for k in want if int(k) == k)
            if len(want) != np.size(self.shape) or any(k < 1 for k in want):
                raise ValueError
        except (TypeError, ValueError):
            allowed = "positive lengths, such as (3,)"
            raise self._error(f"shape is {self.shape!r}", allowed) from None
        given = [self.argument_shape(a, getattr(self, a)) for a in self.arguments]
        try:
            full = np.broadcast_shapes(want, *given)
        except ValueError:
            raise self._error(
                f"arguments of the shapes {given} do not fit together or to shape={want}",
                "shapes that broadcast",
            ) from None
        if want and full != want:
            raise self._error(f"shape={want}, but the arguments give {full}", f"shape={full}")
        return full

    def _error(self, what: str, allowed: str | None = None, fix: str | None = None) -> PriorError:
        return PriorError(f"{type(self).__name__}: {what}", allowed=allowed, fix=fix)

    def numbers(self, name: str) -> np.ndarray | None:
        """An argument's numbers; None for an expression."""
        value = getattr(self, name)
        return None if isinstance(value, str) else np.asarray(value)

    def faults(self) -> Iterator[Fault]:
        """The rules that the arguments break, if any; a subclass adds its own."""
        for name in self.arguments:
            if name in self.literal or (v := self.numbers(name)) is None:
                continue
            bad = np.isnan(v) if name in self.infinite else ~np.isfinite(v)
            yield Fault(bad, f"{name} is {first(v, bad)}", "a finite number")
            if name in self.positive:
                yield Fault(v <= 0, f"{name} is {first(v, v <= 0)}", f"{name} > 0")

    def check(self) -> None:
        """Raise on the first broken rule."""
        for fault in self.faults():
            if count := int(np.sum(fault.where)):
                many = f" (in {count} of {fault.where.size} places)" if fault.where.size > 1 else ""
                raise self._error(fault.what + many, fault.allowed, fault.fix)

    def by_row(self, shape: tuple[int, ...], values: Mapping[str, Any] | None = None):
        """The same family with arguments that differ by row: each broadcasts to (n, *shape)."""
        new = copy.copy(self)
        for name, value in {**(values or {}), "shape": shape}.items():
            object.__setattr__(new, name, value)
        return new

    def to_config(self) -> dict:
        out: dict[str, Any] = {"family": self.family}
        defaults = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        for name in self.arguments:
            value = getattr(self, name)
            if np.ndim(value) or value != defaults.get(name, MISSING):
                out[name] = encode(value)
        if self.unit:
            out["unit"] = self.unit
        given = [self.argument_shape(a, getattr(self, a)) for a in self.arguments]
        if self.shape != np.broadcast_shapes(*given):
            out["shape"] = list(self.shape)
        return out

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.to_config() == other.to_config()

    def __hash__(self) -> int:
        return hash(repr(self.to_config()))

    def __repr__(self) -> str:
        unit = f", unit={self.unit!r}" if self.unit else ""
        return self.text[:-1] + unit + ")"

    @property
    def text(self) -> str:
        """The record without its unit, for tables."""
        config = self.to_config()
        hidden = ("family", "unit", "shape")
        parts = [f"{k}={_short(v)}" for k, v in config.items() if k not in hidden]
        parts += [f"shape={self.shape}"] if "shape" in config else []
        return f"{type(self).__name__}({', '.join(parts)})"

    # -- the promise, which a subclass keeps ----------------------------------------------------

    @property
    def support(self) -> tuple[Any, Any]:
        raise NotImplementedError

    @property
    def bijection(self) -> bijections.Bijection:
        raise NotImplementedError

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def contains(self, values: Any) -> np.ndarray:
        raise NotImplementedError

    def log_prob(self, values: Any) -> np.ndarray:
        raise NotImplementedError

    def cdf(self, values: Any) -> np.ndarray:
        raise NotImplementedError

    def ppf(self, u: Any) -> np.ndarray:
        raise NotImplementedError

    # -- what all families share --------------------------------------------------------------

    def _values(self, values: Any) -> np.ndarray:
        if self.parents:
            raise self._error(
                f"it depends on {', '.join(self.parents)}",
                "numbers as arguments, where a family is used alone",
                "put it in a Prior together with its parents",
            )
        x = np.asarray(values, dtype=np.float64)
        k = len(self.shape)
        if x.shape[x.ndim - k :] != self.shape or x.ndim < k:
            raise self._error(f"values of the shape {x.shape}", f"(n, *{self.shape})")
        return x

    def _over(self, reduce, elements: np.ndarray) -> np.ndarray:
        """Sum, or `all`, over the parameter's own axes."""
        k = len(self.shape)
        return reduce(elements, axis=tuple(range(elements.ndim - k, elements.ndim)))


def encode(value: Any) -> Any:
    """Plain data for JSON and TOML: floats, lists and texts, infinities as texts."""
    if isinstance(value, (str, int)):
        return value
    if np.ndim(value):
        return [encode(v) for v in np.asarray(value).tolist()]
    return float(value) if np.isfinite(value) else ("inf" if value > 0 else "-inf")


def _decode(values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return [_decode(v) for v in values]
    return _INFINITE.get(values, values) if isinstance(values, str) else values


def about(name: str, err: PriorError) -> PriorError:
    """The same error, saying which parameter it is about."""
    return PriorError(f"{name}: {err.what}", allowed=err.allowed, fix=err.fix)


def first(v: np.ndarray, where: np.ndarray) -> str:
    """The first of the numbers at fault, for a message."""
    found = np.asarray(v)[np.asarray(where)]
    return f"{found.flat[0]:g}" if found.size else ""


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = [_short(v) for v in value[:6]] + ["…"] * (len(value) > 6)
        return f"[{', '.join(shown)}]"
    return str(value)
