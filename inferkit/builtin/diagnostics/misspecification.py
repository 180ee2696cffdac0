"""Misspecification: could this model have made this observation at all?

An amortised estimator asked about data unlike any it was trained on answers with confidence and
without warrant.  The observation s_o is compared with simulations of the prior, in the space of the
estimator's inputs: scaled by median and MAD, rotated by PCA to at most 20 coordinates plus the
length of what these leave out.  Three distances say how odd a point is:

    Mahalanobis   D^2 = sum_j y_j^2 / var(y_j) + residual^2 / var(residual)
    neighbours    the distance to its 5th nearest simulation
    one input     max_j |z_j|, of the scaled inputs themselves: one wrong feature among many

Beside the inputs stands the size of each trace's steps, which tells noise from movement.
Scales, rotation and neighbours come from one half A of the simulations; the other half B gives the
distances that are usual.  If the model is right, observation and B are exchangeable given A, so

    p = (1 + #{b in B: D_b >= D_o}) / (|B| + 1)        is exact, whatever the features' shapes;

the smallest of the three counts threefold.  p <= 0.01 warns; FAIL needs more: the observation is then
also half as far again as the farthest simulation, or has a value (or a NaN) that no simulation comes
near.  With so few simulations that p cannot be small, only one far beyond all of them is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.data import Ragged
from inferkit.diagnose import Context, Status, Verdict, common
from inferkit.features import View

ROWS, WIDTH, COMPONENTS, NEIGHBOURS = 2000, 2000, 20, 5
BEYOND = 1.5
TRACE = 20
"""Outputs with at least so many values a row are treated as traces."""
ATYPICAL = 5.0


def check(simulated: np.ndarray, observed: np.ndarray, names: Sequence[str]) -> Verdict:
    """The verdict on an observation (k,) among simulations (n, k) of the prior."""
    n = len(simulated)
    rests = f"{n:,} simulations of the prior, {simulated.shape[1]:,} inputs each"
    a, b = simulated[0::2], simulated[1::2]
    undefined = np.isnan(observed)
    rare = np.isnan(simulated).mean(axis=0) < 0.01
    strange_nan = [names[j] for j in np.flatnonzero(undefined & rare)]
    median, scale = common.robust(a)
    spread = np.nanstd(simulated, axis=0) > 0
    with np.errstate(invalid="ignore"):
        moved = ~spread & ~undefined & (np.abs(observed - median) > 1e-9 * (1 + np.abs(median)))
    strange_constant = [names[j] for j in np.flatnonzero(moved)]
    use = (scale > 0) & spread
    if not use.any():
        return common.not_run("misspecification", "no input varies between simulations")

    def scaled(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num((x[:, use] - median[use]) / scale[use], nan=0.0, posinf=1e6, neginf=-1e6)

    zo = scaled(observed[None])
    kind, p, usual, own, ratio = oddness(scaled(a), scaled(b), zo)
    order = np.argsort(-np.abs(zo[0]))
    used = [names[j] for j in np.flatnonzero(use)]
    odd = [f"{used[j]} ({common.sds(zo[0, j], 'robust sd')})" for j in order[:3] if abs(zo[0, j]) > 3]
    status = grade(p, ratio, len(b))
    evidence = (f"the observation is farther out than {(usual < own).mean():.1%} of simulations "
                f"({common.quote(p)}, by {kind})")
    if ratio > 1:
        evidence += f", {ratio:.2g} times as far as the farthest"
    if status != "PASS" and odd:
        evidence += f"; most atypical: {', '.join(odd)}"
    if strange_nan or strange_constant:
        status = "FAIL"
        evidence += "; the model never makes " + common.some(
            [f"{s} = NaN" for s in strange_nan] + [f"this value of {s}" for s in strange_constant])
    remedy = "" if status == "PASS" else (
        "compare units, sampling rate, filters and preprocessing of data and simulations first; then "
        "widen the prior, add what the model lacks (noise, drift), or leave out the features it "
        "cannot reproduce. Do not interpret this posterior before")
    return Verdict("misspecification", status, evidence, remedy, rests,
                   {"p": p, "times_farthest": ratio},
                   {"usual": np.sort(usual)[:: max(1, len(usual) // 400)], "observed": np.array([own]),
                    "z": zo[0][order[:20]]})


def grade(p: float, ratio: float, n: int) -> Status:
    """From a p-value among n, and the distance relative to the farthest of them."""
    if p <= 0.01:
        return "FAIL" if ratio > BEYOND else "WARN"
    if p <= 3 / (n + 1) and ratio > BEYOND:  # as small as it can be
        return "FAIL" if ratio > 2 * BEYOND else "WARN"
    return "PASS"


def oddness(a: np.ndarray, b: np.ndarray, o: np.ndarray) -> tuple[str, float, np.ndarray, float, float]:
    """How far o (1, k) lies from A, beside B: by which distance, p, those of B, its own, and its
    own relative to B's farthest."""
    results = {"Mahalanobis": _mahalanobis(a, b, o), "neighbours": _neighbours(a, b, o),
               "one input": (np.abs(b).max(axis=1), float(np.abs(o).max()))}
    p = {k: min(1.0, 3 * (1 + (r[0] >= r[1]).sum()) / (len(b) + 1)) for k, r in results.items()}
    kind = min(p, key=lambda k: (p[k], -results[k][1] / max(results[k][0].max(), 1e-300)))
    usual, own = results[kind]
    return kind, p[kind], usual, own, float(own / max(usual.max(), 1e-300))


def _mahalanobis(a: np.ndarray, b: np.ndarray, o: np.ndarray) -> tuple[np.ndarray, float]:
    """Distances of B (n,) and of the observation, relative to A."""
    centre = a.mean(axis=0)
    _, s, rotation = np.linalg.svd(a - centre, full_matrices=False)
    keep = min(COMPONENTS, len(a) // 5, int((s > 1e-9 * s[0]).sum()))
    rotation = rotation[:keep]
    var = (((a - centre) @ rotation.T) ** 2).mean(axis=0)
    # What PCA leaves out is smaller in A, which it was made for, than in B: its scale is B's.
    rest = _residual(b - centre, rotation)
    unit = max(float((rest**2).mean()), 1e-12)

    def distance(x: np.ndarray) -> np.ndarray:
        y = x - centre
        return np.sqrt(((y @ rotation.T) ** 2 / var).sum(axis=1) + _residual(y, rotation) ** 2 / unit)

    return distance(b), float(distance(o)[0])


def _residual(y: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum((y**2).sum(axis=1) - ((y @ rotation.T) ** 2).sum(axis=1), 0))


def _neighbours(a: np.ndarray, b: np.ndarray, o: np.ndarray) -> tuple[np.ndarray, float]:
    k = min(NEIGHBOURS, len(a)) - 1

    def distance(x: np.ndarray) -> np.ndarray:
        square = (x**2).sum(1)[:, None] + (a**2).sum(1)[None] - 2 * x @ a.T
        return np.sqrt(np.maximum(np.partition(square, k, axis=1)[:, k], 0))

    return distance(b), float(distance(o)[0])


class Misspecification:
    """Is the observation typical of the prior predictive?"""

    def run(self, context: Context) -> Iterator[Verdict]:
        inputs = context.observed_inputs
        if inputs is None:
            yield common.not_run("misspecification", "there is no observation",
                                 "study.check(observed)")
            return
        table = context.study.simulations.ok
        if len(table) < 50:
            yield common.not_run("misspecification", f"only {len(table)} simulations of the prior "
                                 "are stored that did not fail; 50 are the least",
                                 "study.simulate(1000)")
            return
        table = table.select(slice(0, ROWS))
        observed, names = common.columns(inputs, context.view)
        simulated, _ = common.columns(context.prior_inputs(table), context.view)
        every = -(-len(names) // WIDTH)
        steps, labels = step_sizes(context.prior_inputs(table), context.view)
        own, _ = step_sizes(inputs, context.view)
        simulated = np.concatenate([simulated[:, ::every], steps], axis=1)
        observed = np.concatenate([observed[:, ::every], own], axis=1)
        for row in observed:
            yield check(simulated, row, [*names[::every], *labels])


def step_sizes(inputs: Mapping[str, Any], view: View) -> tuple[np.ndarray, list[str]]:
    """log median |x(t+1) - x(t)| of each trace: other noise shows there, among large movements."""
    found = {name: np.asarray(x, float) for name, x in inputs.items()
             if name in view.outputs and not isinstance(x, Ragged)}
    found = {name: x for name, x in found.items() if x.ndim == 2 and x.shape[1] >= TRACE}
    n = len(next(iter(inputs.values())))
    with np.errstate(all="ignore"):
        columns = [np.log(np.median(np.abs(np.diff(x, axis=1)), axis=1) + 1e-300)
                   for x in found.values()]
    return np.array(columns).reshape(len(columns), n).T, [f"steps of {name}" for name in found]
