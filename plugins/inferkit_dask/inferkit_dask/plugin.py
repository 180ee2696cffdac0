"""The plugin's record."""

from __future__ import annotations

from inferkit.hookspecs import hookimpl
from inferkit.specs import ExecutorSpec


@hookimpl
def inferkit_executors():
    yield ExecutorSpec(
        name="dask", summary="a Dask cluster: local, an existing scheduler, SLURM, PBS, LSF, …",
        target="inferkit_dask.executor:DaskExecutor", config="inferkit_dask.config:DaskConfig",
    )
