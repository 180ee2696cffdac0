"""Features as people choose them: names, tables, functions of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inferkit.data import Output
from inferkit.errors import ConfigError
from inferkit.plugins import Component, by_value, code_text, own_code

RAW = "raw"


def choose(given: Any, folder: Path = Path()) -> list[tuple[str, Any]]:
    """(label, feature) for each entry of a study's `features`; label "" keeps its own names.

    An entry is a name, a table with a name and settings, a table {function = "file.py:f"}, a
    function, a feature object, or "raw"; a mapping labels its entries.
    """
    if given is None:
        return []
    if isinstance(given, (str, Component)) or callable(given):
        given = [given]
    if isinstance(given, Mapping):
        return [(str(k), _entry(v, folder)) for k, v in given.items()]
    if not isinstance(given, Sequence):
        raise ConfigError(f"features is {given!r}", allowed='a list: ["stats", "psd"]')
    return [("", _entry(v, folder)) for v in given]


def _entry(entry: Any, folder: Path) -> Any:
    if entry == RAW or isinstance(entry, Component):
        return entry
    if isinstance(entry, str):
        return Component.choose("feature", entry, {})
    if isinstance(entry, Mapping):
        settings = dict(entry)
        if "function" in settings:
            source, text = settings["function"], ""
            if source.endswith(by_value.ENDING):
                function, text = by_value.read(folder / source)
            else:
                function = own_code.import_function(source, folder)
            return _OwnFeature(OverTrials(function) if settings.get("over_trials") else function,
                               source, text)
        if "name" not in settings:
            raise ConfigError(f"feature {entry!r} has no name", fix='{name = "psd", …}')
        return Component.choose("feature", settings.pop("name"), settings)
    if callable(entry) or hasattr(entry, "compute"):
        return _OwnFeature(entry)
    raise ConfigError(f"{entry!r} is no feature",
                      allowed="a feature's name, a table with a name, a function of x")


class OverTrials:
    """A function of a whole set of trials as a feature: f(x) of arrays (n, trial, …), n sets."""

    over_trials = True

    def __init__(self, function: Any):
        self.function = function
        self.name = getattr(function, "__name__", "over_trials")

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> Any:
        from inferkit.features.compose import FunctionFeature

        return FunctionFeature(self.function, self.name).compute(x, outputs)


class _OwnFeature:
    """The user's function; its digest stands in for a name in the cache's key."""

    def __init__(self, thing: Any, source: str = "", text: str = ""):
        self.thing, self.text = thing, text
        self.source = source or own_code.place(self.function)

    @property
    def function(self) -> Any:
        return self.thing.function if isinstance(self.thing, OverTrials) else self.thing

    @property
    def code(self) -> str:
        return self.text or code_text.code_of(self.function)

    def build(self) -> Any:
        return self.thing

    def to_config(self) -> dict:
        if not self.source:
            raise ConfigError(f"feature {self.thing!r} is a Python object, which a file cannot hold",
                              fix='features = [{function = "my_features.py:peak"}]')
        over = {"over_trials": True} if getattr(self.thing, "over_trials", False) else {}
        return {"function": self.source, **over}

    def identity(self) -> dict:
        over = {"over_trials": True} if getattr(self.thing, "over_trials", False) else {}
        return {"code": code_text.digest_of(self.code), **over}
