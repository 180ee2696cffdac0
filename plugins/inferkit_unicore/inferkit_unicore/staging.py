"""What goes to the site: a script, a batch, once a site the packages; and the job's description.

Arguments and settings travel in files only: the server joins Executable and Arguments into a line
of bash without quoting.  Sweeps and arrays are not used: sites drop their members silently.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import shlex
import tarfile
from importlib import metadata
from pathlib import Path
from typing import Any

from inferkit.errors import ConfigError
from inferkit.simulate.node import JSON
from inferkit_unicore.campaign import CHUNK
from inferkit_unicore.config import UnicoreConfig

SCRIPT, PAYLOAD = "inferkit.sh", "inferkit-stage.tar.gz"
PROGRESS = ".UNICORE_PROGRESS_INDICATION"
FOLDER = "inferkit-staged"
SKIP = ("__pycache__", ".git", ".venv", ".pytest_cache", ".mypy_cache")


def script(config: UnicoreConfig, payload_sha: str = "") -> bytes:
    """The one script that every job runs."""
    lines = ["#!/bin/bash", "# Written by inferkit; the batch is in inferkit.json.",
             "export INFERKIT_STARTED=$(date +%s)"]
    if payload_sha:
        lines += [
            f"echo '{payload_sha}  {PAYLOAD}' | sha256sum -c --status "
            f"|| {{ echo 'inferkit: {PAYLOAD} came damaged' >&2; exit 125; }}",
            f"mkdir -p stage && tar -xzf {PAYLOAD} -C stage || exit 125",
            'export INFERKIT_STAGE="$PWD/stage"',
            'export PYTHONPATH="$PWD/stage/packages${PYTHONPATH:+:$PYTHONPATH}"',
        ]
    lines += [f"module load {shlex.quote(name)}" for name in config.modules]
    lines += [f"export {k}={shlex.quote(v)}" for k, v in config.environment.items()]
    lines += config.setup
    prefix = ""
    if config.container:
        prefix = f'{config.container_command} --bind "$PWD" {shlex.quote(config.container)} '
    start = f"{config.launcher} " if config.launcher else ""
    lines += [f"{'' if config.launcher else 'exec '}{start}{prefix}{shlex.quote(config.python)} "
              f"-m inferkit.simulate.node {JSON}"]
    return ("\n".join(lines) + "\n").encode()


def description(config: UnicoreConfig, campaign: str, chunk: str, rows: int,
                payload_url: str = "") -> dict[str, Any]:
    """The job as plain JSON; pyunicore's helpers use keys that servers do not know."""
    asked: dict[str, Any] = {"Runtime": str(int(config.runtime_seconds)), "Nodes": config.nodes}
    optional = {"Queue": config.queue, "CPUsPerNode": config.cpus_per_node,
                "MemoryPerNode": config.memory_per_node, "Reservation": config.reservation,
                "QoS": config.qos, "NodeConstraints": config.constraints, "Project": config.project}
    asked |= {k: v for k, v in optional.items() if v} | config.resources
    told: dict[str, Any] = {
        "Name": f"inferkit {chunk} ({rows})", "Executable": "bash", "Arguments": [SCRIPT],
        "Tags": [campaign, CHUNK + chunk], "Resources": asked, "Umask": "077",
        "haveClientStageIn": "true",
    }
    if config.project:
        told["Project"] = config.project
    if payload_url:
        told["Imports"] = [{"From": payload_url, "To": PAYLOAD, "FailOnError": "true"}]
    return told


def payload(config: UnicoreConfig) -> bytes:
    """An archive of `stage` and `packages`; equal content gives equal bytes."""
    members: dict[str, Path] = {}
    for given in config.stage:
        path = Path(given).expanduser().resolve()
        if not path.exists():
            raise ConfigError(f"stage: there is no {path}")
        members |= _tree(path, path.name)
    for name in config.packages:
        for folder, at in _package(name):
            members |= _tree(folder, f"packages/{at}")
    held = io.BytesIO()
    with gzip.GzipFile(fileobj=held, mode="wb", mtime=0) as zipped, \
            tarfile.open(fileobj=zipped, mode="w") as tar:
        for at in sorted(members):
            info = tar.gettarinfo(str(members[at]), at)
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            with members[at].open("rb") as f:
                tar.addfile(info, f)
    return held.getvalue()


def payload_name(data: bytes) -> str:
    return f"{FOLDER}/{hashlib.sha256(data).hexdigest()[:24]}.tar.gz"


def _tree(path: Path, at: str) -> dict[str, Path]:
    if path.is_file():
        return {at: path}
    return {f"{at}/{p.relative_to(path).as_posix()}": p for p in path.rglob("*")
            if p.is_file() and not set(p.relative_to(path).parts) & set(SKIP)
            and p.suffix != ".pyc"}


def _package(name: str) -> list[tuple[Path, str]]:
    """A distribution's folders: its top-level packages and its metadata."""
    try:
        dist = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise ConfigError(f"packages: {name!r} is not installed here",
                          fix=f"pip install {name}") from None
    held: Any = getattr(dist, "_path", None)
    found = [(Path(held), Path(held).name)] if held else []
    tops = (dist.read_text("top_level.txt") or name.replace("-", "_")).split()
    for top in tops:
        spec = importlib.util.find_spec(top)
        if spec is None or not spec.origin:
            raise ConfigError(f"packages: cannot find the code of {name!r} ({top})")
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        if any(p.suffix in (".so", ".pyd") for p in source.rglob("*")):
            raise ConfigError(f"packages: {name!r} holds compiled code",
                              fix="install it at the site, or use a container")
        found.append((source, source.name))
    return found
