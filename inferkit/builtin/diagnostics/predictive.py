"""Posterior predictive checks: do simulations from the posterior look like the observation?

n draws of the posterior are simulated.  Simulations and observation are pooled, so that they are
exchangeable if the posterior is right, and each p-value below is exact for any n.  Inputs j = 1..k
(features, or raw values where there are no more than 200) are scaled by the pool's median and MAD, and

    T = max_j |s_j - median_j| / scale_j

is computed for the observation and for every simulation, so one comparison covers all features with
their correlations:  p = (1 + #{T_i >= T_o}) / (n + 1).  On raw outputs the statistic is the share of
points inside the pointwise 5-95 % envelope of the pool.

Ranks among few resolve no small p; where the observation is ratio times as far out as the farthest
simulation, p / ratio^2 is taken in its place (of coverage p / ratio, ratio times less well covered
than the worst).  p <= 0.01 warns; p <= 0.001 and ratio > 1.5 fails.  Data that were used for the fit
are used again here, so these checks are lenient: they find gross misfit, not small errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from inferkit.data import Ragged
from inferkit.diagnose import Context, Predictive, Verdict, common
from inferkit.errors import SimulatorError

LEAST, WIDTH = 20, 200
TRACE = 20
"""Outputs with at least so many values a row are treated as traces."""
NEAR, BARELY = 3.0, 0.02
"""Nothing within so many scales is beyond the others; less than so much covered is not covered."""
FAR = 20.0
"""The scaled distance of a value that is undefined on one side only."""
REMEDY = ("look at the predictive pictures in the report: the model with these parameters does not "
          "reproduce the data. If misspecification fails too, mend the model or the data's "
          "preprocessing; if it passes, the posterior is in the wrong place: see sbc and training")


def features(simulated: np.ndarray, observed: np.ndarray, names: Sequence[str]) -> Verdict:
    """The verdict from predictive features (n, k) and observed ones (k,)."""
    n = len(simulated)
    pool = np.concatenate([observed[None], simulated])
    median, scale = common.robust(pool)
    undefined = np.isnan(pool)
    rare = np.where(undefined.mean(axis=0) < 0.05, undefined,
                    (undefined.mean(axis=0) > 0.95) & ~undefined)
    z = np.where(rare, FAR, _scaled(pool, median, scale))
    o, largest = z[0], np.abs(z).max(axis=1)
    own, largest = float(largest[0]), largest[1:]
    p = float((1 + (largest >= own).sum()) / (n + 1))
    below = (simulated < observed).sum(0) + 0.5 * (simulated == observed).sum(0)
    tail = np.minimum(1.0, 2 * np.minimum(below + 1, n - below + 1) / (n + 1))
    status = common.grade_far(p, own / max(float(largest.max()), NEAR))
    order = np.argsort(-np.abs(o))
    told = [f"{names[j]} ({common.sds(o[j], 'predictive sd')})" for j in order[:3]]
    evidence = (f"the observation's farthest of {len(names)} features is {told[0]}; "
                f"{(largest >= own).mean():.0%} of predictive simulations have one as far "
                f"({common.quote(p)})")
    if status != "PASS" and len(told) > 1:
        evidence += f"; next {', '.join(told[1:])}"
    return Verdict("predictive", status, evidence, "" if status == "PASS" else REMEDY,
                   f"{n} simulations of posterior draws", {"p": p, "farthest": own},
                   {"z": o, "tail": tail})


def envelope(simulated: np.ndarray, observed: np.ndarray, name: str) -> Verdict:
    """The verdict from predictive traces (n, k) and an observed one (k,)."""
    n = len(simulated)
    pool = np.concatenate([observed[None], simulated])
    defined = np.isfinite(observed) & np.isfinite(simulated).any(axis=0)
    if not defined.any():
        return common.not_run("predictive.traces", f"{name} has no value to compare")
    place = rankdata(pool[:, defined], axis=0, nan_policy="omit") / (
        np.isfinite(pool[:, defined]).sum(axis=0) + 1)
    with np.errstate(invalid="ignore"):
        share = ((place >= 0.05) & (place <= 0.95)).mean(axis=1)
    own, usual = float(share[0]), share[1:]
    p = float((1 + (usual <= own).sum()) / (n + 1))
    status = common.grade_far(p, float(usual.min()) / max(own, BARELY), power=1.0)
    return Verdict(
        "predictive.traces", status,
        f"{own:.0%} of {name} lies within the predictive 90 % envelope, where simulations have "
        f"{usual.mean():.0%} (the worst of {n}: {usual.min():.0%}; {common.quote(p)})",
        "" if status == "PASS" else REMEDY, f"{n} simulations of posterior draws",
        {"inside": own, "p": p})


def _scaled(x: np.ndarray, median: np.ndarray, scale: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        z = (x - median) / np.where(scale > 0, scale, 1.0)
    away = (scale == 0) & (np.abs(x - median) > 1e-9 * (1 + np.abs(median)))
    return np.where(scale > 0, np.nan_to_num(z, posinf=1e6, neginf=-1e6), np.where(away, FAR, 0.0))


def _broken(evidence: str) -> Verdict:
    return Verdict("predictive", "FAIL", evidence, "the posterior lies where the simulator breaks: "
                   "see the failures check", "simulations of posterior draws")


class PosteriorPredictive:
    """Features and traces of simulations of the posterior, against the observation."""

    def run(self, context: Context) -> Iterator[Verdict]:
        mine = common.one_posterior(context, "predictive")
        if isinstance(mine, Verdict):
            yield mine
            return
        try:
            found = context.predictive
        except SimulatorError as cause:  # the first so many of them all failed
            yield _broken(cause.what)
            return
        if found is None or found.ok.sum() < LEAST:
            count = 0 if found is None else int(found.ok.sum())
            yield _broken(f"only {count} simulations of posterior draws did not fail")
            return
        yield from self._inputs(context, found)
        if (raw := context.observed_raw) is not None:
            yield from traces(found, raw)

    def _inputs(self, context: Context, found: Predictive) -> Iterator[Verdict]:
        observed, names = common.columns(context.observed_inputs or {}, context.view)
        simulated, _ = common.columns(found.inputs, context.view)
        failed = float((~found.ok).mean())
        if len(names) > WIDTH and (computed := context.view.names):
            observed, simulated = (x[:, -len(computed):] for x in (observed, simulated))
            names = list(computed)
        if len(names) > WIDTH:
            return
        verdict = features(simulated[found.ok], observed[0], names)
        verdict.evidence += f"; {failed:.0%} of the predictive simulations failed"
        verdict.numbers["failed"] = failed
        if failed > 0.1 and verdict.status == "PASS":
            verdict.status = "WARN"
            verdict.remedy = "the posterior reaches where the simulator breaks: see failures"
        yield verdict


def traces(found: Predictive, raw: Mapping) -> Iterator[Verdict]:
    """A verdict for each dense output that is long enough to be a trace."""
    for name, value in raw.items():
        simulated = found.x.get(name)
        if simulated is None or isinstance(simulated, Ragged) or isinstance(value, Ragged):
            continue
        simulated = np.asarray(simulated)[found.ok]
        observed = np.asarray(value, dtype=float).ravel()
        if observed.size < TRACE or simulated[0].size != observed.size:
            continue
        yield envelope(simulated.reshape(len(simulated), -1).astype(float), observed, name)
