"""What the diagnostics share: grades, sentences, and the inputs as one named matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.data import Ragged
from inferkit.diagnose.context import Calibration, Context
from inferkit.diagnose.uniform import FAIL, WARN
from inferkit.diagnose.verdicts import Status, Verdict
from inferkit.features import FEATURES, View

FEW_NAMES = 50
FAR_P, BEYOND = 0.001, 1.5
"""What is odd by rank fails only where it also lies so many times as far out as the farthest."""
AMORTISED = ('fit an amortised estimator to the same stored simulations, study.fit(estimator='
             '"abc-rejection") or "npe", and check that one')


def not_run(name: str, why: str, remedy: str = "") -> Verdict:
    return Verdict(name, "NOT RUN", why, remedy)


def grade(p: float, small: bool = False) -> Status:
    """A p-value (corrected for the number of tests) as a status; small faults never fail."""
    if p >= WARN:
        return "PASS"
    return "FAIL" if p < FAIL and not small else "WARN"


def grade_far(p: float, ratio: float, power: float = 2.0) -> Status:
    """A p-value by rank among n others, and how many times as far out as the farthest of them.

    Ranks resolve no p under 1/(n + 1).  Beyond the farthest, tails are taken to fall no slower than
    ratio^-power, so that p / ratio^power stands for the p that more of them would give.
    """
    p /= max(1.0, ratio) ** power
    if p > WARN:
        return "PASS"
    return "FAIL" if p <= FAR_P and ratio > BEYOND else "WARN"


def calibration(context: Context, name: str) -> Calibration | Verdict:
    """Draws for held-out simulations, or the verdict that says why there are none."""
    if not context.estimator.amortised:
        return not_run(name, f"{context.estimator.name!r} learned one observation's posterior; "
                       "calibration needs posteriors of many simulations", AMORTISED)
    found = context.calibration
    if found is None:
        usable = int(context.held_out.ok.sum())
        return not_run(name, f"only {usable} held-out simulations that did not fail; 20 are the "
                       "least, 200 are better", "simulate more: one in ten is held out, so "
                       "study.simulate(2000) gives 200")
    good = np.isfinite(found.draws).all(axis=(1, 2)) & np.isfinite(found.theta).all(axis=1)
    if not good.all():
        return Verdict(name, "FAIL", f"the posterior of {int((~good).sum())} of {len(good)} "
                       "held-out simulations has draws that are NaN or infinite",
                       "look at the inputs of those simulations (features that are NaN or huge), "
                       "or use another estimator", rests(found))
    return found


def rests(c: Calibration) -> str:
    return (f"{len(c.theta):,} simulations that no estimator has seen, "
            f"{c.draws.shape[1]:,} draws each")


def one_posterior(context: Context, name: str) -> np.ndarray | Verdict:
    """The draws (n, d) for the observation, or the verdict that says why there are none."""
    samples = context.samples
    if samples is None:
        return not_run(name, "there is no observation", "study.check(observed)")
    if samples.values.ndim != 2:
        return not_run(name, "several observations were given", "check one at a time")
    return samples.values


def some(names: Iterable[str], limit: int = 4) -> str:
    """A list for a sentence: "a, b, c and 3 more"."""
    listed = list(names)
    if len(listed) <= limit:
        return ", ".join(listed)
    return f"{', '.join(listed[:limit])} and {len(listed) - limit} more"


def quote(p: float) -> str:
    """A p-value as people read it."""
    if p < 1e-6:
        return "p < 0.000001"
    return f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def sds(z: float, of: str = "sd") -> str:
    """A distance in standard deviations, without the digits that mean nothing."""
    return f"{z:+.1f} {of}" if abs(z) < 100 else f"beyond {'+' if z > 0 else '-'}100 {of}"


def columns(inputs: Mapping[str, Any], view: View) -> tuple[np.ndarray, list[str]]:
    """Inputs of n rows as a matrix (n, k) with names; ragged rows become count, mean and sd.

    Sets of trials are in no order: each input becomes its mean, sd and quantiles over them.
    """
    if (m := view.trials_of(inputs)) is not None:
        single = {k: np.asarray(v).reshape(-1, *np.shape(v)[2:]) for k, v in inputs.items()}
        matrix, each = columns(single, view)
        return _over_trials(matrix.reshape(-1, m, len(each)), each)
    blocks: list[np.ndarray] = []
    names: list[str] = []
    for name, value in inputs.items():
        if isinstance(value, Ragged):
            blocks.append(np.array([_summary(row) for row in value]).reshape(len(value), 3))
            names += [f"{name}.count", f"{name}.mean", f"{name}.sd"]
            continue
        array = np.asarray(value, dtype=np.float64)
        shape = array.shape[1:]
        blocks.append(array.reshape(len(array), int(np.prod(shape))))
        if name == FEATURES and len(view.names) == array.shape[1]:
            names += view.names
        else:
            names += [name + "".join(f"[{i}]" for i in where) for where in np.ndindex(*shape)]
    return np.concatenate(blocks, axis=1), names


def _over_trials(x: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Permutation-invariant numbers of sets x (n, m, k)."""
    found = {"mean": x.mean(axis=1)}
    if x.shape[1] > 1:
        found["sd"] = x.std(axis=1)
        if len(names) <= FEW_NAMES:
            found |= {f"{q:.0%} quantile": np.quantile(x, q, axis=1) for q in (0.1, 0.5, 0.9)}
    return (np.concatenate(list(found.values()), axis=1),
            [f"{what} of {name}" for what in found for name in names])


def _summary(row: np.ndarray) -> Sequence[float]:
    if not len(row):
        return 0.0, np.nan, np.nan
    return float(len(row)), float(row.mean()), float(row.std())


def robust(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and scale (1.48 MAD, or sd where that is 0) of each column, NaN left out."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN alone
        median = np.nanmedian(x, axis=0)
        scale = 1.4826 * np.nanmedian(np.abs(x - median), axis=0)
        spread = np.nanstd(x, axis=0)
    scale = np.where(scale > 1e-9 * spread, scale, spread)
    return np.nan_to_num(median), np.nan_to_num(scale)


def prior_scale(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """The prior's mean and sd, (d,) each."""
    if hasattr(context.prior, "mean_std"):
        return context.prior.mean_std()
    draws = context.prior.pack(context.prior.sample(4096, context.rng(0)))
    return draws.mean(axis=0), draws.std(axis=0)


def contraction(draws: np.ndarray, prior_var: np.ndarray) -> np.ndarray:
    """Contraction of each parameter from draws (n, d), or (m, n, d) of m posteriors."""
    var = draws.var(axis=-2, ddof=1)
    var = var.mean(axis=0) if var.ndim == 2 else var
    return 1 - var / np.where(prior_var > 0, prior_var, 1.0)


def auc(theta: np.ndarray, failed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and two-sided p of each parameter, from theta (n, d) and failed (n,)."""
    from scipy.stats import norm, rankdata, tiecorrect

    a, b = int(failed.sum()), int((~failed).sum())
    if not a or not b:
        return np.full(theta.shape[1], 0.5), np.ones(theta.shape[1])
    ranks = rankdata(theta, axis=0)
    value = (ranks[failed].sum(axis=0) - a * (a + 1) / 2) / (a * b)
    ties = np.array([tiecorrect(r) for r in ranks.T])
    sd = np.sqrt(np.maximum((a + b + 1) / (12 * a * b) * ties, 1e-300))
    return value, 2 * norm.sf(np.abs(value - 0.5) / sd)
