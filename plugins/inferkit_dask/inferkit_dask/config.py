"""The settings of the Dask executor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inferkit.errors import ConfigError
from inferkit.simulate.local import parse_bytes

QUEUES = ("slurm", "pbs", "lsf", "sge", "htcondor", "oar", "moab")


@dataclass(frozen=True)
class DaskConfig:
    """Where the Dask cluster is or how to start one, and how simulations run on it.

    An existing cluster
    address: its scheduler, "tcp://host:8786" or "tls://host:8786".
    scheduler_file: the JSON file that `dask scheduler --scheduler-file` wrote.
    tls: certificate files (PEM), {ca = …, cert = …, key = …}, for a scheduler that speaks TLS.
    client: a `distributed.Client` of your own (Python only).

    A cluster of its own
    cluster: "local", or a batch queue through dask-jobqueue ("slurm", "pbs", "lsf", …).
    workers: Dask workers (on a queue: jobs times `processes`); "auto" is 1.
    threads: simulations at once in each worker; "auto" shares this machine's cores out (on a
        queue: `options.cores`).
    minimum, maximum: an adaptive number of workers between these, in place of `workers`.
    options: what dask-jobqueue's cluster class takes: queue, account, cores, memory, walltime, …
    secure: a local cluster is encrypted, by certificates made for this run, so that nobody else on
        the machine can reach its scheduler, which would run their code as you.
    dashboard: where the dashboard listens ("127.0.0.1:0" is any free port), or "off".

    Each simulation's process
    cores: threads that it may use.
    memory: its limit, "4GB"; beyond it the simulation fails with status `memory`.
    recycle_growth: a process that has grown by this much is replaced.

    How chunks travel
    shards: who writes the results: "workers" where they see the run's folder, else "client";
        "auto" finds out.
    team: processes that share one chunk, merging their results into one file: on many nodes, set
        threads = 1 and this to a node's cores, so that a task is a node's work.
    send: code that the workers lack: installed packages, or .py files and folders.
    target_seconds: how long one chunk should take (longer on more than 100 threads).
    window: chunks in flight a thread.
    retries: how often a chunk may be lost with its worker before the run stops.
    patience: seconds to go on without a worker or a scheduler; unset: a minute, on a queue for
        ever for the first worker.
    grace: seconds that running simulations get when the run is stopped.
    resources: Dask resources that a chunk needs, such as {sim = 1}.
    """

    address: str = ""
    scheduler_file: str = ""
    tls: dict = field(default_factory=dict)
    client: Any = field(default=None, repr=False)
    cluster: Literal["local", "slurm", "pbs", "lsf", "sge", "htcondor", "oar", "moab"] = "local"
    workers: int | Literal["auto"] = "auto"
    threads: int | Literal["auto"] = "auto"
    minimum: int | None = None
    maximum: int | None = None
    options: dict = field(default_factory=dict)
    secure: bool = True
    dashboard: str = "127.0.0.1:0"
    cores: int = 1
    memory: str = ""
    recycle_growth: str = "2GB"
    shards: Literal["auto", "workers", "client"] = "auto"
    team: int = 1
    send: list[str] = field(default_factory=list)
    target_seconds: float = 1.0
    window: int = 3
    retries: int = 10
    patience: float | None = None
    grace: float = 10.0
    resources: dict = field(default_factory=dict)

    def __post_init__(self):
        given = [n for n in ("address", "scheduler_file", "client") if getattr(self, n)]
        if len(given) > 1:
            raise self._error(f"both {given[0]} and {given[1]} are given", "one of them")
        if given and self.cluster != "local":
            raise self._error(f"cluster is {self.cluster!r} and {given[0]} is given",
                              f"{given[0]} for a cluster that runs, or cluster to start one")
        for name, low in (("workers", 1), ("threads", 1), ("cores", 1), ("team", 1), ("window", 1),
                          ("retries", 0), ("minimum", 0), ("maximum", 1)):
            value = getattr(self, name)
            if isinstance(value, int) and value < low:
                raise self._error(f"{name} is {value}", f"{low} or more")
        for name in ("target_seconds", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise self._error(f"{name} is {value}", "seconds, more than 0")
        if self.maximum is None and self.minimum is not None:
            raise self._error("minimum is given without maximum", "both, for an adaptive cluster")
        if self.maximum is not None and self.maximum < (self.minimum or 0):
            raise self._error(f"maximum is {self.maximum}, minimum {self.minimum}", "the larger last")
        if self.maximum is not None and self.workers != "auto":
            raise self._error("both workers and maximum are given",
                              "workers for a fixed number, minimum and maximum for an adaptive one")
        if self.options and self.cluster == "local":
            raise self._error("options are for a batch queue", f"cluster: {', '.join(QUEUES)}")
        if self.address and "://" not in self.address:
            raise self._error(f"address is {self.address!r}", "tcp://host:8786 or tls://host:8786")
        if self.tls and set(self.tls) != {"ca", "cert", "key"}:
            raise self._error(f"tls has {', '.join(sorted(self.tls))}", "ca, cert and key")
        for name, file in self.tls.items():
            if not Path(file).is_file():
                raise self._error(f"tls: {name}: no file {file}", "the path of a PEM file")
        parse_bytes(self.memory)
        parse_bytes(self.recycle_growth)

    @staticmethod
    def _error(what: str, allowed: str) -> ConfigError:
        return ConfigError(f"executor 'dask': {what}", allowed=allowed)

    @property
    def own(self) -> bool:
        """Whether the cluster is started here (and so ends here)."""
        return not (self.address or self.scheduler_file or self.client is not None)
