"""The groups of an ArviZ object from posterior draws, simulations and an observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged, Trials, arviz
from inferkit.plugins.repeat import LENGTHS
from inferkit.posterior.predicted import Predicted

PRIOR_DRAWS = 2000


def groups(samples: Any, predicted: Predicted | None, prior_predicted: Predicted | None, observed: Any
           ) -> Any:
    several = samples.values.ndim == 3
    chains = samples.chains if samples.chains is not None and not several else None
    if several:
        values = np.moveaxis(samples.values, 0, 1)[None]  # (chain, draw, observation, d)
    else:
        values = samples.values[None] if chains is None else chains
    held: dict[str, dict[str, np.ndarray]] = {
        "posterior": {n: values[..., j] for j, n in enumerate(samples.names)},
        "sample_stats": dict(samples.stats) if chains is not None else {},
        "prior": {},
    }
    dims: dict[str, Any] = {n: ["observation"] for n in samples.names} if several else {}
    coords: dict[str, Any] = {}
    if samples.prior is not None and not several:
        drawn = samples.prior.sample(PRIOR_DRAWS, np.random.default_rng(0))
        held["prior"] = dict(zip(samples.names, samples.prior.pack(drawn).T[:, None]))
    units = dict(samples.units)
    for group, found in (("posterior_predictive", predicted), ("prior_predictive", prior_predicted)):
        if found is not None:
            rows = {_free(k, samples): v[found.ok] for k, v in found.x.items()
                    if not k.endswith(LENGTHS)}
            known = {_free(k, samples): o for k, o in found.outputs.items()}
            arrays, its, axes = arviz.outputs(rows, known, found.trials is not None)
            held[group] = {k: v[None] for k, v in arrays.items()}
            dims, coords = {**dims, **its}, {**coords, **axes}
            units |= {k: o.unit for k, o in known.items()}
    told = predicted or prior_predicted
    if observed is not None and told is not None:
        held["observed_data"] = {_free(k, samples): v for k, v in _observed(observed, told).items()}
    return arviz.inference_data(held, dims=dims, coords=coords, units=units)


def _free(output: str, samples: Any) -> str:
    """An output's name; ArviZ keeps dimensions by name, so a parameter of that name makes way."""
    return f"{output}.output" if output in samples.names else output


def _observed(observed: Any, found: Predicted) -> dict[str, np.ndarray]:
    """The observation's outputs by name, of one simulation or of all trials."""
    if isinstance(observed, Trials):
        observed = observed.x
    if not isinstance(observed, Mapping):
        observed = {next(iter(found.outputs or found.x)): observed}
    out = {}
    for name, value in observed.items():
        declared = found.outputs.get(name) or Output(name)
        if declared.shape is None and found.trials is None:
            row = np.ravel(value[0] if isinstance(value, Ragged) else np.asarray(value, dtype=float))
            out[name] = row
        elif declared.shape is not None:
            out[name] = np.asarray(value)
    return out
