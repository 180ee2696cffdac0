"""An observation that is several independent trials of one parameter set, said by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferkit.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Trials:
    """These are trials of one observation: `Trials({"choice": c, "rt": t})`, `Trials(array)`.

    Arrays have the trials first; without it, one axis more means several observations.  A study
    with `trials=` takes every observation so, and needs no such word.
    """

    x: Any


def trial_range(given: Any) -> tuple[int, int] | None:
    """The least and the greatest number of trials, from a number or two; None for single ones."""
    if given is None:
        return None
    pair = tuple(given) if isinstance(given, (list, tuple)) else (given, given)
    whole = all(not isinstance(v, bool) and hasattr(v, "__index__") for v in pair)
    if len(pair) != 2 or not whole or not 1 <= pair[0] <= pair[1]:
        raise ConfigError(f"trials is {given!r}", fix="trials=60",
                          allowed="how many, 1 or more, or the least and the greatest, (5, 100)")
    return int(pair[0]), int(pair[1])
