"""Code that is sent to the workers once, for those that lack it: a zip of packages and modules.

An installed package travels with its version and entry points, so that on the worker it is a
plugin like any other.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from importlib import metadata
from pathlib import Path

from inferkit.errors import ConfigError

LIMIT = 64 << 20


def pack(names: list[str]) -> bytes:
    """Installed packages by name, .py files and package folders by path."""
    if not names:
        return b""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as parcel:
        for name in names:
            path = Path(name)
            if path.suffix == ".py" or path.is_dir():
                _add(parcel, path)
            else:
                _add_installed(parcel, name)
    if len(held.getvalue()) > LIMIT:
        raise ConfigError(f"executor 'dask': what send lists has {len(held.getvalue()) >> 20} MB",
                          allowed=f"up to {LIMIT >> 20} MB of code: install it on the workers")
    return held.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as parcel:
        parcel.extractall(folder)


def _add(parcel: zipfile.ZipFile, path: Path) -> None:
    if not path.exists():
        raise ConfigError(f"executor 'dask': send: no file {path}")
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    for file in files:
        if "__pycache__" not in file.parts:
            parcel.write(file, str(file.relative_to(path.parent)))


def _add_installed(parcel: zipfile.ZipFile, name: str) -> None:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise ConfigError(f"executor 'dask': send: {name!r} is not installed here",
                          allowed="an installed package's name, or the path of a .py file or "
                                  "folder") from None
    modules = {m for m, packages in metadata.packages_distributions().items()
               if found.metadata["Name"] in packages}
    # An editable install lists no files; then the entry points tell what it is made of.
    modules |= {e.value.partition(":")[0].partition(".")[0] for e in found.entry_points}
    modules = {m for m in modules if not m.startswith("__editable__")}
    if not modules:
        raise ConfigError(f"executor 'dask': send: cannot find the modules of {name!r}",
                          fix="send the folder by its path")
    for module in sorted(modules):
        spec = importlib.util.find_spec(module)
        if spec is not None:
            for root in spec.submodule_search_locations or [str(spec.origin)]:
                _add(parcel, Path(root))
    stem = f"{found.metadata['Name'].replace('-', '_')}-{found.version}.dist-info"
    parcel.writestr(f"{stem}/METADATA", f"Metadata-Version: 2.1\nName: {found.metadata['Name']}\n"
                                        f"Version: {found.version}\n")
    groups: dict[str, list[str]] = {}
    for e in found.entry_points:
        groups.setdefault(e.group, []).append(f"{e.name} = {e.value}")
    parcel.writestr(f"{stem}/entry_points.txt", "\n".join(
        f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in groups.items()))
