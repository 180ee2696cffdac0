"""What a prior is made of, as people write it: names, families, rules, frozen scipy distributions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from inferkit.errors import PriorError
from inferkit.prior.base import Family
from inferkit.prior.config import RESERVED, not_a_family
from inferkit.prior.constraints import Constraint
from inferkit.prior.dependent import Given
from inferkit.prior.others import Scipy, frozen_scipy
from inferkit.prior.record import Record


def checked_name(name: Any) -> str:
    if isinstance(name, str) and name not in RESERVED and re.fullmatch(r"[^\s\[\]]+", name):
        return name
    raise PriorError(
        f"{name!r} cannot name a parameter",
        allowed=f"a text without blanks and brackets, and not {' or '.join(RESERVED)}",
        fix="shape=(3,) makes a vector w, whose elements are w[0], w[1], w[2]",
    )


def checked_part(name: str, part: Any) -> Any:
    if isinstance(part, Given):
        return part.rule if isinstance(part.rule, Record) else part
    if frozen_scipy(part) and not isinstance(part, Record):
        return Scipy(part)
    # Python 3.11 evaluates a protocol's properties, which a family of expressions does not have yet
    if isinstance(part, type) or not isinstance(part, (Record, Family)):
        raise not_a_family(name, part)
    return part


def names_read(parts: Mapping[str, Any], constraints: Iterable[Constraint]) -> set[str] | None:
    """The names that anything reads; None where a function may read all."""
    used = {p for part in parts.values() for p in getattr(part, "parents", ())}
    for c in constraints:
        if c.names is None:
            return None
        used |= set(c.names)
    return used
