"""`inferkit init` and `inferkit plugins new`: files to start from, that work as they are."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import plugins
from inferkit.commands.templates import (
    CODE,
    FLAGS,
    PLUGIN,
    PYPROJECT,
    README,
    STUDY,
    TEST,
    TEST_HEAD,
)
from inferkit.errors import ConfigError, InferkitError
from inferkit.plugins import Component
from inferkit.store import make_folder, writing_to


def study_file(file: Path, simulator: str, force: bool) -> Path:
    """A study file for a simulator, with a wide normal prior around each declared default."""
    if file.exists() and not force:
        raise ConfigError(f"{file} exists already", fix=f"inferkit init {file} --force")
    spec = plugins.get("simulator", simulator)
    built = Component(spec).build()
    prior = _own_prior(built) or _prior_lines(getattr(built, "parameters", None) or ())
    features = ""
    if simulator == "lif":
        features = 'features = [{name = "stats", output = "V", which = ["mean", "sd"]}, ' \
                   '"spike_count"]\n'
    make_folder(file.parent)
    with writing_to(file):
        file.write_text(STUDY.format(file=file, path=f"runs/{file.stem}", simulator=simulator,
                                     prior=prior, features=features, observed=_synthetic(built)))
    return file


def _own_prior(built: Any) -> str:
    """The prior that the simulator itself suggests, as TOML lines."""
    import tomli_w

    make = getattr(built, "default_prior", None) or getattr(built, "prior", None)
    if make is None:
        return ""
    try:
        return tomli_w.dumps({"prior": make().to_config()}).replace("[prior]\n", "").replace(
            "[prior.", "[prior.").strip()
    except InferkitError:
        return ""


def _prior_lines(parameters: Any) -> str:
    lines = []
    for p in parameters:
        default = 1.0 if p.default is None else float(np.mean(p.default))
        shape = f", shape = {list(p.shape)}" if p.shape else ""
        lines.append(f'"{p.name}" = {{family = "normal", loc = {default}, '
                     f'scale = {abs(default) / 4 or 1.0}, unit = "{p.unit}"{shape}}}')
    return "\n".join(lines) or '"a" = {family = "uniform", low = 0.0, high = 1.0}'


def _synthetic(built: Any) -> str:
    parameters = getattr(built, "parameters", None) or ()
    if not parameters or any(p.default is None and not hasattr(built, "truth") for p in parameters):
        return ""
    values = []
    for p in parameters:
        value = built.truth(1)[p.name] if p.default is None else p.default
        value = np.round(np.broadcast_to(np.asarray(value, float), p.shape), 4)
        values.append(f"{_key(p.name)} = {value.tolist()}")
    return f"observed = {{seed = 1, theta = {{{', '.join(values)}}}}}   # synthetic, for a start"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


def package(name: str, role: str, into: Path, observations: bool = False) -> Path:
    """A plugin package whose tests pass, in `into`/inferkit-NAME.

    observations: an estimator that holds its own model and learns from observations alone.
    """
    kind = "observations" if observations else role
    if observations and role != "estimator":
        raise ConfigError(f"a {role} does not learn from observations",
                          fix="inferkit plugins new NAME --role estimator --observations")
    short = name.removeprefix("inferkit-").removeprefix("inferkit_")
    identifier = short.replace("-", "_")
    if not identifier.isidentifier() or keyword.iskeyword(identifier):
        raise ConfigError(f"{name!r} cannot name a package", allowed="letters, digits and -",
                          fix="inferkit plugins new my-neuron")
    module = f"inferkit_{identifier}"
    folder = into / module
    if folder.exists():
        raise ConfigError(f"{folder} exists already", fix="choose another name or folder")
    words = {
        "package": module.replace("_", "-"), "module": module, "name": identifier, "role": role,
        "Class": "".join(w.capitalize() for w in identifier.split("_")),
        "Title": " ".join(w.capitalize() for w in identifier.split("_")),
        "Spec": {"simulator": "SimulatorSpec", "estimator": "EstimatorSpec",
                 "feature": "FeatureSpec"}[role],
        "flags": FLAGS[kind],
        "suites": ", ".join(sorted(["PluginSuite", f"{kind.capitalize()}Suite"])),
        "imports": "import numpy as np" if kind in ("feature", "observations") else "",
    }
    files = {
        "pyproject.toml": PYPROJECT, "README.md": README, f"{module}/__init__.py": "",
        f"{module}/plugin.py": PLUGIN, f"{module}/{role}.py": CODE[kind],
        f"tests/test_{identifier}.py": TEST_HEAD + TEST[kind],
    }
    for path, text in files.items():
        file = folder / path
        make_folder(file.parent)
        filled = text.format(**words) if text else ""
        with writing_to(file):
            file.write_text(filled.replace('checks."""\n\n\n', 'checks."""\n\n'))
    return folder
