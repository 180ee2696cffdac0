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

the smallest of the three counts threefold.  Ranks among few resolve no small p; beyond the farthest of
B, p / ratio^2 is taken in its place, ratio = D_o / max D_b (a tail that falls like the inverse square).
p <= 0.01 warns; p <= 0.001 and half as far again as the farthest fails.

Values that hardly any simulation has (NaN, or another than nearly all the same) have no scale.  With
c_j of observation and n simulations having such a value in input j, each has its rarest,
r_i = min_j c_j, and

    p = #{i: r_i <= r_o} / (n + 1).

A model that makes rare values now and then makes them in some simulations, too; that the observation
alone has one happens by chance in at most 0.37 / (n + 1) of studies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.data import Ragged
from inferkit.diagnose import Context, Verdict, common
from inferkit.diagnose.uniform import WARN
from inferkit.features import View

ROWS, WIDTH, COMPONENTS, NEIGHBOURS = 2000, 2000, 20, 5
NEAR = 3.0
"""Nothing within so many scales is beyond the others, however near these are (counts that are 0)."""
TELLING = 200
"""With fewer simulations, a value that none of them has is no proof."""
TRACE = 20
"""Outputs with at least so many values a row are treated as traces."""


def check(simulated: np.ndarray, observed: np.ndarray, names: Sequence[str]) -> Verdict:
    """The verdict on an observation (k,) among simulations (n, k) of the prior."""
    n = len(simulated)
    rests = f"{n:,} simulations of the prior, {simulated.shape[1]:,} inputs each"
    a, b = simulated[0::2], simulated[1::2]
    rarity, strange = rare_values(simulated, observed, names)
    median, scale = common.robust(a)
    use = (scale > 0) & (np.nanstd(simulated, axis=0) > 0)
    if not use.any():
        return common.not_run("misspecification", "no input varies between simulations")

    def scaled(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num((x[:, use] - median[use]) / scale[use], nan=0.0, posinf=1e6, neginf=-1e6)

    zo = scaled(observed[None])
    kind, p, usual, own, ratio = oddness(scaled(a), scaled(b), zo)
    order = np.argsort(-np.abs(zo[0]))
    used = [names[j] for j in np.flatnonzero(use)]
    odd = [f"{used[j]} ({common.sds(zo[0, j], 'robust sd')})" for j in order[:3] if abs(zo[0, j]) > 3]
    status = common.grade_far(p, ratio)
    evidence = (f"the observation is farther out than {(usual < own).mean():.1%} of simulations "
                f"({common.quote(p)}, by {kind})")
    if ratio > 1:
        evidence += f", {ratio:.2g} times as far as the farthest"
    if status != "PASS" and odd:
        evidence += f"; most atypical: {', '.join(odd)}"
    if rarity <= max(WARN, 1 / (n + 1)):
        alone = rarity <= 1 / (n + 1)
        status = "FAIL" if status == "FAIL" or (alone and n >= TELLING) else "WARN"
        evidence += (f"; {'the model never makes' if alone else 'few simulations have'} "
                     + common.some(strange))
    remedy = "" if status == "PASS" else (
        "compare units, sampling rate, filters and preprocessing of data and simulations first; then "
        "widen the prior, add what the model lacks (noise, drift), or leave out the features it "
        "cannot reproduce. Do not interpret this posterior before")
    return Verdict("misspecification", status, evidence, remedy, rests,
                   {"p": p, "times_farthest": ratio},
                   {"usual": np.sort(usual)[:: max(1, len(usual) // 400)], "observed": np.array([own]),
                    "z": zo[0][order[:20]]})


def rare_values(simulated: np.ndarray, observed: np.ndarray, names: Sequence[str]
                ) -> tuple[float, list[str]]:
    """p of the rarest value that an observation has, and where it has one so rare."""
    pool = np.concatenate([observed[None], simulated])
    undefined = np.isnan(pool)
    median = common.robust(pool)[0]
    with np.errstate(invalid="ignore"):
        other = np.abs(pool - median) > 1e-9 * (1 + np.abs(median))
    apart = np.concatenate([undefined ^ (undefined.mean(axis=0) > 0.5), other], axis=1)
    count = apart.sum(axis=0)
    rarest = np.where(apart & (count <= max(1, WARN * len(pool))), count, len(pool)).min(axis=1)
    if rarest[0] == len(pool):
        return 1.0, []
    mine = np.unique(np.flatnonzero(apart[0] & (count <= rarest[0])) % len(names))
    told = [f"{names[j]} = NaN" if undefined[0, j] else f"this value of {names[j]}" for j in mine]
    return float((rarest <= rarest[0]).mean()), told


def oddness(a: np.ndarray, b: np.ndarray, o: np.ndarray) -> tuple[str, float, np.ndarray, float, float]:
    """How far o (1, k) lies from A, beside B: by which distance, p, those of B, its own, and its
    own relative to B's farthest."""
    results = {"Mahalanobis": _mahalanobis(a, b, o), "neighbours": _neighbours(a, b, o),
               "one input": (np.abs(b).max(axis=1), float(np.abs(o).max()))}
    p = {k: min(1.0, 3 * (1 + (r[0] >= r[1]).sum()) / (len(b) + 1)) for k, r in results.items()}
    kind = min(p, key=lambda k: (p[k], -results[k][1] / max(results[k][0].max(), 1e-300)))
    usual, own = results[kind]
    return kind, p[kind], usual, own, float(own / max(usual.max(), NEAR))


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
