"""Do the workers run the same code?  Versions and digests of the packages a simulation rests on.

A version alone would pass a stale checkout, so the source files are compared too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from inferkit.errors import ExecutorError


def packages_of(spec) -> dict[str, str]:
    """Module -> distribution of what must agree, for a simulator's record."""
    module = spec.target.partition(":")[0].partition(".")[0]
    return {"inferkit": "inferkit", "inferkit_dask": "inferkit-dask", **(
        {module: spec.package} if spec.package and module != "inferkit" else {})}


def told(packages: dict[str, str]) -> dict[str, str]:
    """What runs here: Python's minor version, and version and code of each package."""
    out = {"python": "{}.{}".format(*sys.version_info)}
    for module, package in packages.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            version = ""
        out[module] = f"{version} {_digest(module)}".strip()
    return out


def difference(mine: dict[str, str], theirs: dict[str, str], where: str,
               packages: dict[str, str]) -> ExecutorError | None:
    """The error that names both versions, if any differ."""
    for name, here in mine.items():
        there = theirs.get(name, "")
        if here == there:
            continue
        if name == "python":
            return ExecutorError(f"{where} runs Python {there}, this process {here}",
                                 fix="start the workers in an environment with the same Python")
        package = packages[name]
        version = here.split(" ")[0]
        if not there:
            return ExecutorError(f"{where} lacks {package} (here: {version})", fix=_remedy(
                package, version))
        if there.split(" ")[0] != version:
            return ExecutorError(f"{where} has {package} {there.split(' ')[0]}, this process "
                                 f"{version}", fix=_remedy(package, version))
        return ExecutorError(
            f"{where} has {package} {version} like this process, but other code",
            allowed="the same source files on both sides", fix=_remedy(package, version))
    return None


def _remedy(package: str, version: str) -> str:
    if package in ("inferkit", "inferkit-dask"):
        return f"on the workers: pip install {package}=={version}  (then start them again)"
    return f"on the workers: pip install {package}=={version}, or here: send = [\"{package}\"]"


def _digest(module: str) -> str:
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        return ""
    roots = [Path(p) for p in found.submodule_search_locations or ()]
    files = sorted((f.relative_to(r).as_posix(), f) for r in roots for f in r.rglob("*.py"))
    if not roots and found.origin:
        files = [(Path(found.origin).name, Path(found.origin))]
    h = hashlib.blake2b(digest_size=8)
    for name, file in files:
        h.update(name.encode() + b"\0" + file.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return h.hexdigest()


def probe() -> Callable[[], dict[str, str]]:
    """A function to run on workers that may have none of this installed.

    It is made inside a function, so it is pickled by value and imports only the standard library.
    """

    def look() -> dict[str, str]:
        import importlib.util as finder
        import sys as system
        from importlib import metadata as installed

        out = {"python": "{}.{}".format(*system.version_info)}
        for module, package in (("inferkit", "inferkit"), ("inferkit_dask", "inferkit-dask")):
            if finder.find_spec(module) is None:
                continue
            try:
                out[module] = installed.version(package)
            except installed.PackageNotFoundError:
                out[module] = "?"
        return out

    return look
