"""Failed simulations: how many, how, and whether they depend on the parameters.

An estimator learns from simulations that did not fail.  If failing depends on theta, that is
p(theta | x, not failed): the prior is cut where the model breaks, unseen.  For each parameter,

    AUC = P(theta_failed > theta_ok)       (1/2: failing does not depend on it)

by ranks (Mann-Whitney), two-sided p from its normal approximation, times the number of parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from inferkit.diagnose import Context, Status, Verdict, common
from inferkit.store import STATUS, Simulations

FEW, MANY = 0.01, 0.3


def check(theta: np.ndarray, status: np.ndarray, names: Sequence[str],
          more: str = "") -> Verdict:
    """The verdict on simulations with parameters (n, d) and statuses (n,)."""
    n, failed = len(status), status != 0
    share = float(failed.mean())
    rests = f"all {n:,} stored simulations of the prior"
    if not failed.any():
        return Verdict("failures", "PASS", f"none of {n:,} simulations failed{more}",
                       rests_on=rests, numbers={"share": 0.0})
    value, p = common.auc(theta, failed)
    p = np.minimum(1.0, p * len(p))
    kinds = Counter(STATUS[s] for s in status[failed])
    told = ", ".join(f"{v:,} {k}" for k, v in kinds.most_common())
    evidence = f"{failed.sum():,} of {n:,} simulations failed ({share:.1%}: {told}){more}"
    where = [j for j in np.argsort(-np.abs(value - 0.5)) if p[j] < 0.01]
    if where:
        evidence += "; failing depends on " + common.some(
            [f"{names[j]} ({'high' if value[j] > 0.5 else 'low'} values, AUC "
             f"{max(value[j], 1 - value[j]):.2f})" for j in where], 3)
    elif not failed.all():
        evidence += "; failing does not visibly depend on any parameter"
    remedy = ""
    grade: Status = "PASS"
    if share > MANY:
        grade = "FAIL"
        remedy = "replay one that failed (inferkit replay RUN:INDEX) and mend the simulator"
    elif share > FEW or where:
        grade = "WARN"
        remedy = "read the messages (inferkit replay RUN:INDEX)"
    if where and not failed.all():
        sides = common.some([f"{'below' if value[j] > 0.5 else 'above'} where it fails in "
                             f"{names[j]}" for j in where], 2)
        remedy += (f"; cut the prior {sides}, or let the simulator give a valid output there: "
                   "estimators learn the posterior under the prior without the failing region")
    numbers = {"share": share, **{f"auc_{k}": float(v) for k, v in zip(names, value)}}
    return Verdict("failures", grade, evidence, remedy, rests, numbers, {"auc": value, "p": p})


class Failures:
    """Failed simulations of the prior round, and how many failed in later ones."""

    def run(self, context: Context) -> Iterator[Verdict]:
        table = context.study.simulations
        if not len(table):
            yield common.not_run("failures", "no simulation of the prior is stored",
                                 "study.simulate(1000)")
            return
        everything = Simulations(context.study.store)
        later = everything.round > 0
        more = ""
        if later.any():
            more = (f"; of {int(later.sum()):,} in later rounds "
                    f"{(everything.status[later] != 0).mean():.1%}")
        yield check(context.prior.pack(table.theta), table.status, context.prior.names, more)
