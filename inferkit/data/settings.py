"""What a study is given as plain numbers, or an error that says what they may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.errors import ConfigError


def seed_of(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ConfigError(f"seed is {seed!r}", allowed="an integer, 0 or more")
    return int(seed)


def timeout_of(timeout: Any) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise ConfigError(f"timeout is {timeout!r}", allowed="seconds, more than 0")
    return float(timeout)


def count_of(n: Any) -> int:
    """How many simulations; 1e4 is a number of them."""
    if isinstance(n, (float, np.floating)) and float(n).is_integer():
        n = int(n)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ConfigError(f"simulate({n!r})", allowed="a number of simulations, 1 or more")
    return int(n)
