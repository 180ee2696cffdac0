"""Recovery: where the parameters behind synthetic data lie in their posterior.

    u_j = (#{draws < theta*_j} + 1/2 ties) / n,     level_j = |2 u_j - 1|

`level` is the smallest central interval that holds the truth; a 99 % interval misses one truth in a
hundred, so the threshold is divided by the number d of parameters: p_j = 2 (rank + 1) / (n + 1) of the
nearer side, which n draws resolve up to d = n/200.  Beyond, a truth is missed where it is half as far
out again as the farthest draw.  One truth is one draw: SBC over
many is the stronger check.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inferkit.diagnose import Context, Verdict, common
from inferkit.diagnose.uniform import WARN

BEYOND = 1.5
FAR = 5.0
"""A truth this many posterior sd from the mean, and outside all draws, is a failure."""


def check(truth: np.ndarray, draws: np.ndarray, names: Sequence[str]) -> Verdict:
    """The verdict from a truth (d,) and posterior draws (n, d)."""
    n, d = draws.shape
    sd = draws.std(axis=0, ddof=1)
    z = (truth - draws.mean(axis=0)) / np.where(sd > 0, sd, 1e-300)
    below, ties = (draws < truth).sum(axis=0), (draws == truth).sum(axis=0)
    level = np.abs(2 * (below + 0.5 * ties) / n - 1)
    tail = 2 * np.minimum(below + ties + 1, n - below + 1) / (n + 1)
    # Among many parameters one lies outside all n draws by chance; then it must lie far outside.
    median = np.median(draws, axis=0)
    reach = np.where(truth > median, draws.max(axis=0) - median, median - draws.min(axis=0))
    outside = (level >= 1) & (np.abs(truth - median) > BEYOND * reach)
    missed = (tail <= WARN / d) | outside
    far = outside & (np.abs(z) > FAR)
    worst = int(np.argmax(np.abs(z)))
    numbers = {f"z_{name}": float(v) for name, v in zip(names, z)}
    numbers |= {f"level_{name}": float(v) for name, v in zip(names, level)}
    if missed.any():
        told = [f"{names[j]} ({common.sds(z[j])})" for j in np.argsort(-np.abs(z)) if missed[j]]
        evidence = f"the truth lies outside the posterior for {common.some(told)}"
    else:
        evidence = (f"the posterior holds the truth of all {d} parameters; farthest is "
                    f"{names[worst]}, {z[worst]:+.1f} sd from the mean, in the "
                    f"{level[worst]:.0%} interval")
    return Verdict("recovery", "FAIL" if far.any() else "WARN" if missed.any() else "PASS", evidence,
                   "see sbc: if that fails too, the posterior is wrong; if it passes, this "
                   "observation is atypical, or was not made with this simulator and these "
                   "settings" if missed.any() else "",
                   f"one truth, {n:,} posterior draws", numbers, {"z": z, "level": level})


class Recovery:
    """Is the known truth within the posterior?"""

    def run(self, context: Context) -> Iterator[Verdict]:
        if context.truth is None:
            yield common.not_run("recovery", "the true parameters are not known",
                                 "for synthetic data: ik.Study(…, truth={…})")
            return
        draws = common.one_posterior(context, "recovery")
        yield draws if isinstance(draws, Verdict) else check(
            context.truth, draws, context.prior.names)
