"""The user's own code: read from a file, and sent along.  `code_text` tells its versions apart.

Own is what no installed package holds: a script, a notebook, the modules beside them.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from inferkit.errors import ConfigError
from inferkit.plugins import discovery


def import_function(reference: str, folder: Path) -> Any:
    """The object that "file.py:name" or "module:name" names; files are relative to `folder`."""
    path, _, attribute = reference.rpartition(":")
    if not path:
        raise ConfigError(f"{reference!r} names no function", fix='"my_model.py:simulate"')
    if not path.endswith(".py"):
        return discovery.resolve(reference, "function")
    file = (folder / path).resolve()
    if not file.is_file():
        raise ConfigError(f"no file {file} (for {reference!r})")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))  # as `python my_model.py` has it: modules beside it
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None  # there is a loader for .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as cause:
        raise ConfigError(f"{file} fails on import: {type(cause).__name__}: {cause}") from cause
    if not hasattr(module, attribute):
        known = [n for n in vars(module) if not n.startswith("_")]
        raise ConfigError(f"{file} has no {attribute!r}", allowed=", ".join(known))
    return getattr(module, attribute)


def place(thing: Any) -> str:
    """Where another process finds a function by name: "file.py:f" or "module:f", or "" nowhere.

    What a script or a notebook defines is nowhere: importing a script runs it.
    """
    name, home = getattr(thing, "__name__", ""), sys.modules.get(str(getattr(thing, "__module__", "")))
    if home is None or home.__name__ == "__main__" or getattr(home, name, None) is not thing:
        return ""
    if not is_own(home):
        return f"{home.__name__}:{name}"
    file = Path(str(home.__file__))
    return f"{file.resolve()}:{name}" if file.suffix == ".py" else ""


# -- what no other process could import ------------------------------------------------------------


def own_modules(thing: Any) -> list[ModuleType]:
    """The own modules that a function or an object comes from, and the own ones that they import."""
    held = [thing, type(thing), *getattr(thing, "__dict__", {}).values()]
    if isinstance(thing, partial):
        held += [thing.func, *thing.args, *thing.keywords.values()]
    todo = [getattr(v, "__module__", None) for v in held]
    found: dict[str, ModuleType] = {}
    while todo:
        name = todo.pop()
        if not isinstance(name, str) or name in found or not is_own(sys.modules.get(name)):
            continue
        module = found[name] = sys.modules[name]
        todo += [getattr(v, "__name__" if isinstance(v, ModuleType) else "__module__", None)
                 for v in list(vars(module).values())]
    return [found[name] for name in sorted(found)]


def is_own(thing: Any) -> bool:
    """Whether another process could not find the module, or the one that defines the thing."""
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(
        str(getattr(thing, "__module__", None)))
    if module is None or getattr(module, "__file__", None) is None:
        return False
    top = module.__name__.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in _packages()


@cache
def _packages() -> frozenset[str]:
    from importlib.metadata import packages_distributions

    return frozenset(packages_distributions())
