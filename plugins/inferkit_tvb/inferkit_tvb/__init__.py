"""The Virtual Brain for inferkit.  `capture(simulator)` turns a TVB Simulator into settings."""

from typing import Any


def capture(simulator: Any, **settings: Any) -> dict:
    """Settings for `ik.simulator("tvb", **capture(sim, duration=…))` from a TVB Simulator."""
    from inferkit_tvb.capture import capture as captured

    return captured(simulator, **settings)


__all__ = ["capture"]
