"""Where the scheduler comes from: a local cluster, an address, or a batch queue."""

from __future__ import annotations

import contextlib
import importlib
import signal
import threading
from dataclasses import dataclass
from typing import Any

import dask
from distributed import Client
from distributed.security import Security

from inferkit.errors import ConfigError, ExecutorError
from inferkit.simulate.local import core_count
from inferkit_dask import loopback
from inferkit_dask.config import DaskConfig

CONNECT_SECONDS = 10.0
CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster",
           "htcondor": "HTCondorCluster", "oar": "OARCluster", "moab": "MoabCluster"}


@dataclass
class Site:
    """A connected client, and the cluster if it was started here."""

    client: Client
    cluster: Any = None
    own_client: bool = True

    @property
    def dashboard(self) -> str:
        return (self.client.dashboard_link or "") if self.client.status == "running" else ""

    def mend(self) -> None:
        """Ask again for own workers that were lost for good."""
        if self.cluster is not None and len(self.cluster.workers) < len(self.cluster.worker_spec):
            self.cluster.scale(len(self.cluster.worker_spec))

    def close(self) -> None:
        if self.own_client:
            with contextlib.suppress(OSError, TimeoutError):
                self.client.close(timeout=5)
        if self.cluster is not None:
            with contextlib.suppress(OSError, TimeoutError):
                self.cluster.close(timeout=20)


def connect(config: DaskConfig, timeout: float | None = None) -> Site:
    """The site that the config describes."""
    if config.client is not None:
        if not isinstance(config.client, Client):
            raise ConfigError(f"executor 'dask': client is {type(config.client).__name__}",
                              allowed="a distributed.Client")
        return Site(config.client, own_client=False)
    if not config.own:
        return Site(_reach(config, timeout or CONNECT_SECONDS))
    # A chunk that was lost is cut to what is missing before it goes out again: Dask must not
    # repeat it as it was.  (An existing scheduler has its own setting; rows are then run twice.)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        cluster = _queue(config) if config.cluster != "local" else loopback.start(
            _threads(config), config.dashboard, config.secure)
    try:
        if config.maximum is not None:
            # Short, or a window of chunks of a second never looks like work for more workers.
            cluster.adapt(minimum=config.minimum or 0, maximum=config.maximum,
                          target_duration="500ms", interval="1s", wait_count=5)
        else:
            cluster.scale(_workers(config) * int(config.options.get("processes", 1)))
        client = Client(cluster, set_as_default=False, timeout=CONNECT_SECONDS)
    except BaseException:
        cluster.close(timeout=10)
        raise
    return Site(client, cluster)


def _workers(config: DaskConfig) -> int:
    return 1 if config.workers == "auto" else config.workers


def _threads(config: DaskConfig) -> int:
    if config.threads != "auto":
        return config.threads
    return max(1, core_count() // (config.maximum or _workers(config)) // config.cores)


def _reach(config: DaskConfig, timeout: float) -> Client:
    security = None
    if config.tls:
        security = Security(tls_ca_file=config.tls["ca"], tls_client_cert=config.tls["cert"],
                            tls_client_key=config.tls["key"], require_encryption=True)
    where = config.address or config.scheduler_file
    try:
        return Client(config.address or None, scheduler_file=config.scheduler_file or None,
                      security=security, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as cause:
        tls = config.address.startswith("tls://") and not config.tls
        raise ExecutorError(
            f"no Dask scheduler answers at {where} ({type(cause).__name__}: {cause})",
            fix="tls = {ca = …, cert = …, key = …}" if tls else
            "dask scheduler  (and dask worker), or leave the address out for a local cluster",
        ) from cause


def jobqueue() -> Any:
    """The module dask_jobqueue.  Its import makes Ctrl-C exit the process; we take that back."""
    if threading.current_thread() is not threading.main_thread():
        return importlib.import_module("dask_jobqueue")
    before = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module("dask_jobqueue")
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _queue(config: DaskConfig) -> Any:
    """A dask-jobqueue cluster.  Its own configuration files count; `options` go before them."""
    try:
        module = jobqueue()
    except ImportError as cause:
        raise ExecutorError(f"executor 'dask': cluster {config.cluster!r} needs dask-jobqueue",
                            fix='pip install "inferkit-dask[jobqueue]"') from cause
    options = dict(config.options)
    if config.threads != "auto":
        options.setdefault("cores", config.threads * int(options.get("processes", 1)))
    options.setdefault("processes", 1)
    options["worker_extra_args"] = _lifetime(config, options) + list(
        options.get("worker_extra_args", ()))
    options["scheduler_options"] = {
        **({"dashboard_address": config.dashboard} if config.dashboard != "off"
           else {"dashboard": False, "dashboard_address": "127.0.0.1:0"}),
        **options.get("scheduler_options", {})}
    try:
        return getattr(module, CLASSES[config.cluster])(**options)
    except (TypeError, ValueError, RuntimeError) as cause:
        told = " ".join(str(cause).split())
        raise ConfigError(f"executor 'dask': the options for {config.cluster!r}: {told}",
                          fix="options = {queue = …, cores = 8, memory = \"16GB\", "
                              "walltime = \"01:00:00\"}") from cause


def _lifetime(config: DaskConfig, options: dict) -> list[str]:
    """Workers leave before the queue kills them, and not all at once."""
    key = f"jobqueue.{config.cluster}.walltime"
    seconds = parse_walltime(options.get("walltime") or dask.config.get(key, None),
                             hours_first=config.cluster == "lsf")
    extra = options.get("worker_extra_args", ())
    if not seconds or any("--lifetime" in str(a) for a in extra):
        return []
    margin = min(300, seconds // 10)
    return ["--lifetime", f"{seconds - 2 * margin}s", "--lifetime-stagger", f"{margin}s"]


def parse_walltime(text: Any, hours_first: bool = False) -> int:
    """ "1-02:30:00", "02:30:00", "30:00" (LSF: hours first) in seconds; 0 where unreadable."""
    days, _, clock = str(text or "").rpartition("-")
    try:
        parts = [int(p) for p in clock.split(":")]
        if len(parts) == 2:
            parts = [*parts, 0] if hours_first else [0, *parts]
        hours, minutes, seconds = parts if len(parts) == 3 else (0, parts[0], 0)
        return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
    except ValueError:
        return 0
