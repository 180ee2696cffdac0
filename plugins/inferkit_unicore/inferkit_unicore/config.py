"""Settings of the UNICORE executor, from the study, a site profile and the environment.

No setting holds a secret: they name the variable, file, command or function that gives it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from inferkit.errors import ConfigError, unknown_name
from inferkit.plugins import schema

AUTH = ("auto", "password", "token", "jwt", "oidc", "oidc-agent")
SIGNING = ("site", "registry", "auth", "password_env", "password_file", "token_env", "token_file",
           "token_command", "token_function", "key_file", "oidc_endpoint", "oidc_client",
           "oidc_secret_env", "oidc_account", "ca", "verify")
"""Settings that decide which secret goes where, and what is run or read for it."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class UnicoreConfig:
    """Settings of the UNICORE executor.

    site: the site's URL (https://HOST/SITE/rest/core), or its name in the registry or in `profiles`;
        default UNICORE_SITE.
    registry: URL of a registry that lists sites.
    profiles: file of site profiles; default UNICORE_SITES or ~/.config/inferkit/unicore.toml.
    auth: how to prove who you are; "auto" takes what is set.
    username: for "password", "jwt" and "oidc"; default UNICORE_USER.
    password_env, password_file: where the password is.
    token_env, token_file, token_command, token_function: where a bearer token is; file, command
        and function ("module:name") are asked again as the token ages.
    key_file: private key that signs JWTs.
    oidc_endpoint, oidc_client, oidc_secret_env, oidc_scope: an OIDC token endpoint.
    oidc_account: an account of oidc-agent.
    ca: PEM file of the authority behind the site's certificate.  verify: false trusts anybody.
    preferences: UNICORE user preferences, such as "uid:me,group:mine".
    project, queue, reservation, qos, constraints: passed to the batch system.
    nodes: nodes a job; more than one needs a launcher.  cpus_per_node, memory_per_node: as asked.
    runtime: a job's time limit, such as "2h" or "30min"; the job stops itself `margin_seconds` before.
    resources: further site-specific entries of the job's Resources.
    setup: lines of bash run before Python.  modules: `module load` these.  environment: variables.
    container: image in which to run.  container_command: what runs it.
    python: the interpreter on the node.  launcher: what starts it, such as "srun".
    stage: files and folders to send along; they lie in $INFERKIT_STAGE.
    packages: installed pure-Python distributions to send along, such as "inferkit".
    storage: the site's storage for what is sent along once.
    workers: processes a node, or "auto".  threads: a process.  memory: a process, such as "4GB".
    max_jobs: jobs at a time.  job_minutes: how long a job should last.
    simulation_seconds: what a simulation takes, if known.  rows_per_job: fixes a job's size.
    retries: how often a lost job is replaced.
    poll_seconds, poll_max: first and longest pause between looks at a job.
    collect_seconds: how often a running job publishes results.
    patience: seconds that the site may stay away before the run stops.
    on_interrupt: what Ctrl-C does with the jobs.
    """

    site: str = ""
    registry: str = ""
    profiles: str = ""
    auth: Literal["auto", "password", "token", "jwt", "oidc", "oidc-agent"] = "auto"
    username: str = ""
    password_env: str = "UNICORE_PASSWORD"
    password_file: str = ""
    token_env: str = "UNICORE_TOKEN"
    token_file: str = ""
    token_command: str = ""
    token_function: str = ""
    key_file: str = ""
    oidc_endpoint: str = ""
    oidc_client: str = ""
    oidc_secret_env: str = "UNICORE_OIDC_SECRET"
    oidc_scope: str = "openid"
    oidc_account: str = ""
    ca: str = ""
    verify: bool = True
    preferences: str = ""
    project: str = ""
    queue: str = ""
    reservation: str = ""
    qos: str = ""
    constraints: str = ""
    nodes: int = 1
    cpus_per_node: int = 0
    memory_per_node: str = ""
    runtime: str = "1h"
    margin_seconds: float = 120.0
    resources: dict[str, Any] = dataclasses.field(default_factory=dict)
    setup: list[str] = dataclasses.field(default_factory=list)
    modules: list[str] = dataclasses.field(default_factory=list)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    container: str = ""
    container_command: str = "apptainer exec"
    python: str = "python3"
    launcher: str = ""
    stage: list[str] = dataclasses.field(default_factory=list)
    packages: list[str] = dataclasses.field(default_factory=list)
    storage: str = "HOME"
    workers: int | Literal["auto"] = "auto"
    threads: int = 1
    memory: str = ""
    max_jobs: int = 8
    job_minutes: float = 20.0
    simulation_seconds: float = 0.0
    rows_per_job: int = 0
    retries: int = 3
    poll_seconds: float = 5.0
    poll_max: float = 60.0
    collect_seconds: float = 30.0
    patience: float = 600.0
    on_interrupt: Literal["detach", "cancel"] = "detach"

    def __post_init__(self):
        for name in ("site", "registry"):
            url = getattr(self, name)
            if "://" in url:
                _check_url(name, url)
        least = {"nodes": 1, "max_jobs": 1, "threads": 1, "retries": 0, "rows_per_job": 0,
                 "cpus_per_node": 0, "simulation_seconds": 0, "margin_seconds": 0, "patience": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"executor 'unicore': {name} is {getattr(self, name)}",
                                  allowed=f"{low} or more")
        if not 0 < self.poll_seconds <= self.poll_max:
            raise ConfigError(f"executor 'unicore': poll_seconds is {self.poll_seconds}",
                              allowed=f"more than 0, at most poll_max = {self.poll_max:g}")
        if self.nodes > 1 and not self.launcher:
            raise ConfigError(f"executor 'unicore': {self.nodes} nodes a job, but no launcher",
                              fix='nodes = 1 (and max_jobs for more), or launcher = "srun"')
        seconds(self.runtime)

    @property
    def runtime_seconds(self) -> float:
        return seconds(self.runtime)

    @property
    def stop_after(self) -> float:
        """Seconds after which a job begins to stop by itself."""
        return self.runtime_seconds - min(self.margin_seconds, 0.2 * self.runtime_seconds)

    def resolved(self) -> UnicoreConfig:
        """With the environment and the site's profile filled in where this leaves the default."""
        site = os.environ.get("UNICORE_SITE", "")
        if site and not self.site and not self.registry:
            return dataclasses.replace(self, site=site).resolved()
        file = profiles_file(self.profiles)
        if "://" in self.site or not self.site:
            return self
        if not file.is_file():
            if not self.registry:
                raise ConfigError(
                    f"executor 'unicore': site {self.site!r} is no URL, and there is no {file}",
                    fix='site = "https://HOST/SITE/rest/core", or write a profile (docs/unicore.md)')
            return self
        try:
            known = tomllib.loads(file.read_text())
        except tomllib.TOMLDecodeError as cause:
            raise ConfigError(f"{file} is not TOML: {cause}") from None
        if self.site not in known:
            if self.registry:
                return self
            raise unknown_name(f"site (profiles are in {file})", self.site, known)
        profile = dict(known[self.site])
        where = f"{file}, [{self.site}]"
        if "url" in profile:
            profile["site"] = profile.pop("url")
        schema.build(UnicoreConfig, {"site": self.site, **profile}, where)
        plain = {f.name: f.default if f.default_factory is dataclasses.MISSING
                 else f.default_factory() for f in dataclasses.fields(self)}
        own = {k: v for k, v in vars(self).items() if v != plain[k] and k != "site"}
        return schema.build(UnicoreConfig, {"site": self.site, **profile, **own}, where)


def profiles_file(given: str = "") -> Path:
    return Path(given or os.environ.get("UNICORE_SITES", "")
                or Path.home() / ".config/inferkit/unicore.toml").expanduser()


def is_own(config: UnicoreConfig) -> bool:
    """Whether the user's environment or profiles, not a run's folder, name this site and sign-in."""
    try:
        names = list(tomllib.loads(profiles_file().read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        names = []
    own = [UnicoreConfig(site=name) for name in names if "://" not in name]
    if os.environ.get("UNICORE_SITE"):
        own.append(UnicoreConfig())
    for one in own:
        with contextlib.suppress(ConfigError):  # a profile of another site may be wrong
            found = one.resolved()
            if all(getattr(found, k) == getattr(config, k) for k in SIGNING):
                return True
    return False


def _check_url(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ConfigError(f"executor 'unicore': {name} holds a password",
                          fix="leave it out of the URL; set username and UNICORE_PASSWORD")
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ConfigError(f"executor 'unicore': {name} = {url!r} is not encrypted",
                          allowed="https://…  (http only on this machine itself)")
    if name == "site" and not re.search(r"/rest/core/?$", parts.path):
        raise ConfigError(f"executor 'unicore': site = {url!r}",
                          allowed="https://HOST[:PORT]/SITE/rest/core")


def seconds(text: str) -> float:
    """A time as UNICORE writes it: "90", "30min", "2h", "1d"."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)?\s*", text)
    if not found or float(found[1]) <= 0:
        raise ConfigError(f"executor 'unicore': runtime is {text!r}", allowed='"30min", "2h", "1d"')
    units = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
    return float(found[1]) * units[found[2] or "s"]
