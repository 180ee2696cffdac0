"""Files of the original program: its array files in, its YAML configs in.

    inferkit_mrsds.read("session.mat")              ys, us, region_sizes, and the truth if it is there
    inferkit_mrsds.import_config("toy.yaml", K=2)    settings of `ik.estimator("mrsds", **…)`
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import ConfigError, DataError

NAMES = ("ys", "us", "xs", "zs", "messages", "region_sizes", "session")


def read(path: str | Path) -> dict[str, Any]:
    """Trials from .npz or .mat: `ys`, `us`, `region_sizes`, optionally xs, zs, messages, session.

    Trials of different lengths are object arrays or cells in the original's files; in .npz they may
    also stand end to end with "ys.offsets".
    """
    file = Path(path)
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as held:
            found = _of_npz(held, file)
    elif file.suffix == ".mat":
        from scipy.io import loadmat

        try:
            found = {k: v for k, v in loadmat(file).items() if not k.startswith("__")}
        except NotImplementedError:
            raise DataError(f"{file} is a MATLAB file of version 7.3",
                            fix="save(file, '-v7') in MATLAB") from None
    else:
        raise DataError(f"{file.name} is no array file", allowed=".npz, .mat")
    if "ys" not in found:
        raise DataError(f"{file.name} holds {', '.join(sorted(found))}", allowed=", ".join(NAMES))
    out = {}
    for name, value in found.items():
        if name.split(".")[0] in NAMES:
            out[name] = _trials(value) if name not in ("region_sizes", "session") else np.ravel(value)
    if "zs" in out and not isinstance(out["zs"], list) and np.ndim(out["zs"]) == 2:
        out["zs"] = out["zs"][..., None]
    return out


def _of_npz(held: Any, file: Path) -> dict[str, Any]:
    found = {}
    for name in held.files:
        try:
            found[name] = held[name]
        except ValueError:
            raise DataError(f"{name!r} in {file.name} is pickled (trials of several lengths)",
                            fix="save them end to end: ys=np.concatenate(ys), and "
                                '"ys.offsets"=np.cumsum([0, *map(len, ys)])') from None
    return found


def _trials(value: np.ndarray) -> Any:
    if value.dtype == object:
        return [np.asarray(v, float) for v in value.ravel()]
    return value


# -- configs ---------------------------------------------------------------------------------------

DEAD = {
    "model.sz": "it was never used",
    "model.xic.layers": "no type of the original uses it",
    "model.xic.trainable_cov": "noise is always trainable here (noise.trainable)",
    "model.xic.triangular_cov": "noise is diagonal",
    "model.xtransition.triangular_cov": "noise is diagonal",
    "model.xtransition.trainable_cov": "noise is always trainable here (noise.trainable)",
    "model.ztransition.layer_mult": "the original ignores it",
    "inference.xic_inf": "the original ignores it",
    "inference.transformer": "the original ignores it",
    "inference.num_samples": "one draw a step",
    "training.num_samples": "one draw a step",
    "training.flat_learning_rate": "the original ignores it",
    "training.use_inverse_annealing_lr": "the original ignores it",
    "training.use_true_x": "the original ignores it",
    "training.use_true_z": "the original ignores it",
    "training.log_steps": "what is shown and saved follows training.evaluate",
    "data.data_source": "give the data to the study",
    "data.tlim": "trials may have any length",
    "data.inputs": "read off us",
    "model.emissions.covariance": "noise is diagonal and trainable",
}
COMMUNICATION = {"additive": "additive", "additive-linear": "additive-linear",
                 "conditional": "conditional", "additive-nonlinear": "additive"}
TYPES = {"mrsds": "mean-field", "svae": "svae", "s-svae": "s-svae"}


def import_config(source: str | Path | Mapping[str, Any], *, K: int, d: int, mtype: str = "mrsds"
                  ) -> dict[str, Any]:
    """Settings of the estimator from the original's YAML, with a warning for each key that does
    nothing.

    K, d and mtype were the original's command line (-k, -d, -mtype).
    """
    told = _flat(source if isinstance(source, Mapping) else _yaml(Path(source)))
    if mtype not in TYPES:
        raise ConfigError(f"mtype is {mtype!r}", allowed=", ".join(TYPES))
    out: dict[str, Any] = {"K": K, "d": d, "inference": TYPES[mtype]}
    unknown = []
    for key, value in told.items():
        if value is None:
            continue
        if key in RULES:
            part, name, convert = RULES[key]
            out.setdefault(part, {})[name] = convert(value)
        elif dead := DEAD.get(key) or next(
            (w for k, w in DEAD.items() if key.startswith(k + ".")), None
        ):
            warnings.warn(f"{key} = {value!r} is dropped: {dead}", stacklevel=2)
        elif not (key.startswith("data.") or key == "training.dynamics_only"):
            unknown.append(key)
    if unknown:
        warnings.warn(
            "keys that this plugin does not know are dropped: " + ", ".join(unknown), stacklevel=2
        )
    training = out.get("training", {})
    if not told.get("training.dynamics_only", False):
        training.pop("second_steps", None)
    if not told.get("training.dropout", False):
        training.pop("drop", None)
        training.pop("drop_trials", None)
    return out


def _layers(value: Any) -> list[int]:
    return [int(v) for v in value or []]


def _activation(value: Any) -> str:
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    return first if first in ("relu", "tanh", "gelu", "softplus") else "relu"


RULES: dict[str, tuple[str, str, Any]] = {
    "model.xz": ("dynamics", "xz", bool),
    "model.uz": ("dynamics", "uz", bool),
    "model.ux": ("dynamics", "ux", bool),
    "model.xtransition.zcond": ("dynamics", "zcond", bool),
    "model.xtransition.dynamics.communication_type": ("dynamics", "communication", COMMUNICATION.get),
    "model.xtransition.dynamics.input_type": ("dynamics", "input_type", str),
    "model.xtransition.dynamics.input_func_type": (
        "dynamics",
        "input_func",
        lambda v: "together" if v == "together" else "separate",
    ),
    "model.xtransition.dynamics.layers": ("dynamics", "layers", _layers),
    "model.xtransition.dynamics.activations": ("dynamics", "activation", _activation),
    "model.xtransition.dynamics.single_region_latent": ("dynamics", "single_latent", bool),
    "model.xtransition.inputs.layers": ("dynamics", "input_layers", _layers),
    "model.emissions.dist": (
        "emissions",
        "family",
        lambda v: "poisson" if v == "poisson" else "gaussian",
    ),
    "model.emissions.layers": ("emissions", "layers", _layers),
    "model.emissions.activations": ("emissions", "activation", _activation),
    "model.emissions.final_activation": (
        "emissions",
        "link",
        lambda v: "exp" if v == "exp" else "softplus",
    ),
    "inference.embedding.layers": ("encoder", "embedding", _layers),
    "inference.transformer_params.head_size": ("encoder", "head_size", int),
    "inference.transformer_params.num_heads": ("encoder", "heads", int),
    "inference.transformer_params.ff_dim": ("encoder", "feedforward", int),
    "inference.transformer_params.num_transformer_blocks": ("encoder", "blocks", int),
    "inference.transformer_params.mlp_units": ("encoder", "mlp", _layers),
    "training.batch_size": ("training", "batch", int),
    "training.num_steps": ("training", "steps", int),
    "training.num_steps_do": ("training", "second_steps", int),
    "training.learning_rate": ("training", "rate", float),
    "training.lr_warmup_steps": ("training", "warmup", int),
    "training.save_steps": ("training", "evaluate", int),
    "training.smooth_coef": ("objective", "smooth", float),
    "training.beta_max": ("objective", "beta_start", float),
    "training.beta_warmup_steps": ("objective", "beta_warmup", int),
    "training.test_perc": ("training", "test", float),
    "training.drop_perc": ("training", "drop", float),
    "training.dropout_trial_perc": ("training", "drop_trials", float),
    "training.dropout": ("training", "drop_score", lambda v: "all"),
}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _yaml(file: Path) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as cause:
        raise ConfigError("reading YAML needs pyyaml", fix="pip install pyyaml") from cause
    try:
        told = yaml.safe_load(file.read_text())
    except yaml.YAMLError as cause:
        raise ConfigError(f"{file} is no YAML: {cause}") from cause
    if not isinstance(told, Mapping):
        raise ConfigError(f"{file} holds {type(told).__name__}", allowed="a table: data, model, …")
    return told
