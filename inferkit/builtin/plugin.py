"""The built-in plugin's records."""

from __future__ import annotations

from inferkit.hookspecs import hookimpl
from inferkit.specs import ExecutorSpec


@hookimpl
def inferkit_executors():
    yield ExecutorSpec(
        name="local", summary="worker processes on this machine (or none)",
        target="inferkit.builtin.local:LocalExecutor", config="inferkit.builtin.local:LocalConfig",
    )
