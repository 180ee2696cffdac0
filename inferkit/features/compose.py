"""Several features as one, the user's own function as a feature, and the matrix they all give."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.data import Output
from inferkit.errors import ConfigError, DataError, unknown_name
from inferkit.features.base import batch_size, find
from inferkit.protocols import Features


class FunctionFeature:
    """The user's function as a feature: f(x), or f(x, outputs), for a whole batch.

        FunctionFeature(lambda x: {"peak": x["V"].max(1)})
        FunctionFeature(peak)                  # def peak(x): return x["V"].max(axis=1)

    It returns a dict of arrays (n,) or (n, k), or one such array, which is named after the
    function (or `name`).  n is the number of rows of x, which it must not mix.
    """

    def __init__(self, function: Callable, name: str = ""):
        if not callable(function):
            raise ConfigError(
                f"{function!r} is no function", fix='lambda x: {"peak": x["V"].max(1)}'
            )
        own = getattr(function, "__name__", type(function).__name__)
        self.name = name or ("feature" if own == "<lambda>" else own)
        self.function = function
        self._two = _positional(function) >= 2

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        x = _Named(x)
        result = self.function(x, outputs) if self._two else self.function(x)
        if not isinstance(result, Mapping):
            result = {self.name: result}
        n = batch_size(x)
        return {str(k): _column(v, n, f"{self.name}: {k!r}") for k, v in result.items()}


class Composite:
    """Several features as one.

    A list keeps each feature's own names, and a name that comes twice is an error.  A mapping
    {label: feature} puts its label in front of the names: "psd.alpha" of {"eeg": PSD()} is
    "eeg.alpha", and "fc" of {"bold": FC()} is "bold".
    """

    name = "composite"

    def __init__(self, parts: Mapping[str, Features | Callable] | Sequence[Features | Callable]):
        if isinstance(parts, Mapping):
            self.labels: tuple[str | None, ...] = tuple(str(k) for k in parts)
            given = list(parts.values())
        else:
            given = list(parts)
            self.labels = (None,) * len(given)
        if not given:
            raise ConfigError("no features to combine", fix='features = ["stats"]')
        self.parts = tuple(as_feature(p, label or "") for p, label in zip(given, self.labels))

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        return {name: values for name, values, _ in self.walk(x, outputs)}

    def walk(
        self, x: Mapping[str, Any], outputs: Mapping[str, Output]
    ) -> list[tuple[str, np.ndarray, str]]:
        """(name, values, unit) of every feature in order."""
        out: dict[str, tuple[np.ndarray, str]] = {}
        owner: dict[str, str] = {}
        for part, label in zip(self.parts, self.labels):
            own = getattr(part, "name", type(part).__name__)
            for name, values, unit in _walk(part, x, outputs):
                full = name if label is None else _relabel(name, own, label)
                if full in out:
                    raise ConfigError(
                        f"two features give {full!r}: {owner[full]} and {own}",
                        fix=f'label them: features = {{"{own}_1": …, "{own}_2": …}}',
                    )
                out[full], owner[full] = (values, unit), own
        return [(name, values, unit) for name, (values, unit) in out.items()]


def as_feature(thing: Features | Callable, label: str = "") -> Features:
    """A feature object, from one or from a function."""
    if hasattr(thing, "compute"):
        return thing  # type: ignore[return-value]
    if callable(thing):
        return FunctionFeature(thing, label)
    raise ConfigError(
        f"{thing!r} is no feature",
        allowed="a feature's name, a function of x, an object with compute(x, outputs)",
    )


def compute_matrix(
    features: Any,
    x: Mapping[str, Any],
    outputs: Mapping[str, Output] | Sequence[Output] | None = None,
    rows: int = 4096,
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """The features of all rows: (matrix (n, k) float64, k names, k units).

    `features` is a feature or function, a list of them, or a dict by label.  Vector features
    expand into name[0], name[1], ….  `rows` at a time are computed, which bounds the memory.
    A feature with attributes `takes` and `config.output` and a method `unit(name, output)` says
    the units of what it computed; others have none.
    """
    if isinstance(features, Mapping) or (
        isinstance(features, Sequence) and not isinstance(features, str)
    ):
        whole: Features = Composite(features)
    else:
        whole = as_feature(features)
    if outputs is None:
        outputs = {}
    elif not isinstance(outputs, Mapping):
        outputs = {o.name: o for o in outputs}
    n = batch_size(x)
    blocks: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    for start in range(0, max(n, 1), rows):
        part = x if n <= rows else {k: v[start : start + rows] for k, v in x.items()}
        columns, labels, measures = [], [], []
        for name, values, unit in _walk(whole, part, outputs):
            values = _column(values, batch_size(part), repr(name))
            k = 1 if values.ndim == 1 else values.shape[1]
            columns.append(values.reshape(len(values), k))
            labels += [name] if values.ndim == 1 else [f"{name}[{i}]" for i in range(k)]
            measures += [unit] * k
        if start and tuple(labels) != names:
            raise DataError(
                f"the features of rows {start} and on are {', '.join(labels)}, those before were "
                f"{', '.join(names)}", allowed="the same features for every row",
            )
        names, units = tuple(labels), tuple(measures)
        blocks.append(np.concatenate(columns, axis=1) if columns else np.empty((len(part), 0)))
    return np.concatenate(blocks), names, units


def _walk(
    part: Features, x: Mapping[str, Any], outputs: Mapping[str, Output]
) -> list[tuple[str, np.ndarray, str]]:
    if isinstance(part, Composite):
        return part.walk(x, outputs)
    found = part.compute(x, outputs)
    unit = getattr(part, "unit", None)
    if unit is None or not hasattr(part, "takes"):
        return [(name, values, "") for name, values in found.items()]
    read = find(part.takes, part.config.output, x, outputs, part.name)  # type: ignore[attr-defined]
    output = outputs.get(read) or Output(read)
    return [(name, values, unit(name, output)) for name, values in found.items()]


def _relabel(name: str, own: str, label: str) -> str:
    if name == own:
        return label
    return label + name[len(own) :] if name.startswith(own + ".") else f"{label}.{name}"


def _column(values: Any, n: int, what: str) -> np.ndarray:
    """A feature's values as float64 (n,) or (n, k)."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"feature {what} is not numeric", allowed="an array of numbers (n,) or (n, k)"
        ) from None
    if array.ndim in (1, 2) and len(array) == n:
        return array
    raise DataError(
        f"feature {what} has shape {array.shape} for {n} rows",
        allowed=f"({n},) or ({n}, k): one row of numbers a simulation",
        fix='reduce over axis 1 (axis 0 is the batch): x["V"].max(axis=1)',
    )


def _positional(function: Callable) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
        for p in parameters
    )


class _Named(dict):
    """Outputs by name, whose missing names are explained."""

    def __missing__(self, name):
        raise unknown_name("output", name, self)
