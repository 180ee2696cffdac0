"""The plugin's record."""

from __future__ import annotations

from inferkit import DemoSpec, ExecutorSpec, hookimpl


@hookimpl
def inferkit_executors():
    yield ExecutorSpec(
        name="dask", summary="a Dask cluster: local, an existing scheduler, SLURM, PBS, LSF, …",
        target="inferkit_dask.executor:DaskExecutor", config="inferkit_dask.config:DaskConfig",
        cites=("rocklin2015dask",),
    )


@hookimpl
def inferkit_demos():
    yield DemoSpec(
        name="dask", target="inferkit_dask:demo.toml", seconds=40,
        summary="the LIF neuron's study on a Dask cluster of this machine")
