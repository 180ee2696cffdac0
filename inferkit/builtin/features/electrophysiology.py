"""Features of the eFEL library (the extra `efel`), which measures action potentials."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inferkit.data import Output
from inferkit.errors import ConfigError, PluginError, unknown_name
from inferkit.features.base import SECONDS, series, words

_LOCK = threading.Lock()  # eFEL's settings are global


@dataclass(frozen=True)
class EfelConfig:
    """Settings of the `efel` feature.

    output: a voltage trace in mV; the first dense time series where empty.
    which: eFEL's names, such as "spike_count", "mean_frequency", "AP_amplitude".
    stim_start, stim_end (ms): when the stimulus is on; all of the trace where not set.
    threshold (mV): of a spike.
    reduce: how a list of values (one a spike) becomes one number.
    """

    output: str = ""
    which: tuple[str, ...] = ("spike_count", "mean_frequency", "voltage_base", "AP_amplitude")
    stim_start: float | None = None
    stim_end: float | None = None
    threshold: float = -20.0
    reduce: Literal["mean", "first", "last", "min", "max"] = "mean"

    def __post_init__(self):
        object.__setattr__(self, "which", words(self.which))
        if not self.which:
            raise ConfigError("efel: which is empty", fix='which = ["spike_count"]')
        if self.reduce not in _REDUCE:
            raise unknown_name("reduce of efel", self.reduce, _REDUCE)


_REDUCE: dict[str, Callable[[np.ndarray], Any]] = {
    "mean": np.mean, "min": np.min, "max": np.max,
    "first": lambda v: v[0], "last": lambda v: v[-1],
}


class Efel:
    """eFEL's features, one number each a row; NaN where eFEL gives none."""

    name = "efel"
    takes = "series"

    def __init__(self, config: EfelConfig | None = None):
        self.config = config or EfelConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config, efel = self.config, _import()
        known = efel.get_feature_names()
        for name in config.which:
            if name not in known:
                raise _unknown(name, known)
        s = series(x, outputs, config.output, "efel")
        if not s.scalar:
            raise ConfigError(f"efel: output {s.name!r} has a node dimension",
                              allowed="one voltage trace a row")
        if not s.has_axis or s.time_unit not in SECONDS:
            raise ConfigError(f"efel: the times of output {s.name!r} are not known",
                              allowed="an output with an axis in " + ", ".join(SECONDS))
        time = s.time * (SECONDS[s.time_unit] / 1e-3)
        start = time[0] if config.stim_start is None else config.stim_start
        end = time[-1] if config.stim_end is None else config.stim_end
        out = np.full((len(s.data), len(config.which)), np.nan)
        reduce = _REDUCE[config.reduce]
        with _settings(efel, config.threshold):
            for i, trace in enumerate(s.data[:, 0]):
                if not np.isfinite(trace).all():
                    continue
                record = {"T": time, "V": trace, "stim_start": [start], "stim_end": [end]}
                found = efel.get_feature_values([record], list(config.which), raise_warnings=False)
                for j, name in enumerate(config.which):
                    values = found[0][name]
                    if values is not None and len(values):
                        out[i, j] = reduce(np.asarray(values, dtype=float))
        return {f"efel.{name}": out[:, j] for j, name in enumerate(config.which)}


def _import() -> Any:
    try:
        import efel
    except ImportError as cause:
        raise PluginError(
            "the feature 'efel' needs the package efel, which is not installed",
            fix='pip install "inferkit[efel]"',
        ) from cause
    return efel


def _unknown(name: str, known: list[str]) -> Exception:
    error = unknown_name("eFEL feature", name, known)
    # Two hundred names would bury the remedy.
    return ConfigError(error.what, allowed="a name of efel.get_feature_names()", fix=error.fix)


@contextlib.contextmanager
def _settings(efel: Any, threshold: float) -> Iterator[None]:
    """eFEL with our threshold, quiet; the caller's threshold comes back."""
    logger = logging.getLogger("efel")
    with _LOCK:
        before, level = efel.get_settings().Threshold, logger.level
        efel.set_setting("Threshold", threshold)
        logger.setLevel(logging.ERROR)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            efel.set_setting("Threshold", before)
            logger.setLevel(level)
