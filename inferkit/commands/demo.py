"""`inferkit demo`: lists the demos; `inferkit demo NAME` runs one, from nothing to a report.

A demo is a study file like any other.  It is left in the run folder, to be changed and run again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from importlib import import_module, resources
from pathlib import Path

from inferkit import plugins
from inferkit.commands import study_file
from inferkit.plugins import DemoSpec
from inferkit.progress import duration
from inferkit.store import make_folder, write_atomic
from inferkit.study import Study


def listing() -> str:
    """Every demo that is installed, and how long it takes."""
    specs: list = plugins.registry().all("demo")
    width = max(len(s.name) for s in specs)
    return "\n".join(f"  {s.name:<{width}}  {s.summary}  (about {duration(s.seconds)})"
                     for s in specs)


def text(spec: DemoSpec) -> str:
    """The study file of a demo."""
    package, _, file = spec.target.partition(":")
    return (resources.files(package) / file).read_text()


@contextlib.contextmanager
def surroundings(name: str, path: Path) -> Iterator[DemoSpec]:
    """The demo's record, with what it has to stand within."""
    spec = plugins.get("demo", name)
    assert isinstance(spec, DemoSpec)
    if not spec.within:
        yield spec
        return
    module, _, function = spec.within.partition(":")
    make_folder(path)
    with getattr(import_module(module), function)(path):
        yield spec


def run(spec: DemoSpec, path: Path, simulations: int | None = None) -> Study:
    """The demo's study, simulated where it has a simulator, and fitted."""
    words = text(spec)
    if simulations is not None:
        words = re.sub(r"^simulations = \d+", f"simulations = {simulations}", words, flags=re.M)
    make_folder(path)
    file = path / f"{spec.name}.toml"
    write_atomic(file, [f'# Change it, then:  inferkit run {file.as_posix()}\n'
                        f'path = "{path.as_posix()}"\n{words}'.encode()])
    study, told = study_file.read(file)
    print(f"study: {file}")
    study_file.keep_copy(study, file, told.simulations)
    if "simulator" in study.has:
        study.simulate(told.simulations)
    study.fit()
    return study
