"""The plugin's record."""

from __future__ import annotations

from inferkit.plugins import ExecutorSpec, hookimpl


@hookimpl
def inferkit_executors():
    yield ExecutorSpec(
        name="dask", summary="a Dask cluster: local, an existing scheduler, SLURM, PBS, LSF, …",
        target="inferkit_dask.executor:DaskExecutor", config="inferkit_dask.config:DaskConfig",
    )
