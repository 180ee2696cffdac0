"""Budget: would more simulations make the posterior better, and by how much?

A posterior that is calibrated may still be far too wide: calibration cannot see it.  A learning curve
can.  The estimator is fitted anew to the first quarter and the first half of its simulations, and each
fit's log-score on simulations that none has seen is compared:

    S(n) = mean_i log q_n(theta_i | x_i),      g1 = S(n/2) - S(n/4),      g2 = S(n) - S(n/2)

What is still missing falls as a power of n, so each doubling brings r times as much as the one before,

    r = g2 / g1  (kept within 0.5 and 0.9),    twice as many:  g2 r
                                               ten times:      g2 (r + r^2 + r^3 + ...), 3.3 doublings

A nat is information: where posteriors are calibrated, a gain of G nats over d parameters makes them
exp(-G / d) as wide.  A WARN says that doubling brings over `WORTH` nats a parameter, and that
the last doubling's gain was no chance (2.6 standard errors of the paired differences).

It costs two fits, of half and a quarter of the rows.  Where the fit took longer than `AT_MOST`
seconds it runs only if asked for, by study.check(only=["budget"]).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from inferkit.diagnose import Context, Verdict, common
from inferkit.diagnose.scores import by_density
from inferkit.estimate import Problem
from inferkit.progress import duration
from inferkit.store import Simulations, temporary_folder

SHARES = (0.25, 0.5)
FEWEST = 200  # rows to learn from
HELD_OUT = 500
AT_MOST = 30.0
WORTH = 0.05  # nats a parameter: posteriors 5 % narrower
ERRORS = 2.6  # standard errors: half a percent by chance
DOUBLINGS = math.log2(10)


class Budget:
    def run(self, context: Context) -> Iterator[Verdict]:
        table = context.study.training
        info = context.posterior.info
        seconds = float(info.get("seconds", 0.0))
        held = context.held_out
        use = np.flatnonzero(held.ok)[:HELD_OUT]
        if info.get("online") or info.get("rows", len(table)) != len(table):
            yield common.not_run("budget", "the fit did not learn from the stored simulations of the "
                                 "prior alone")
        elif len(table) < FEWEST or len(use) < 20:
            yield common.not_run("budget", f"{len(table)} simulations to learn from and {len(use)} "
                                 f"held out are too few for a learning curve ({FEWEST} and 20)",
                                 "study.simulate(1000)")
        elif seconds > AT_MOST and "budget" not in context.asked:
            yield common.not_run("budget", "fitting half and a quarter of the simulations takes about "
                                 f"{duration(0.75 * seconds)}, so it runs when asked for",
                                 'study.check(only=["budget"])')
        else:
            inputs = {k: v[use] for k, v in held.inputs.items()}
            sizes = [int(share * len(table)) for share in SHARES]
            engines = [self._fitted(context, table, n) for n in sizes] + [context.posterior.engine]
            scores = [by_density(engine, held.theta[use], inputs) for engine in engines]
            spent = float(context.study.simulations.seconds.sum())
            yield judged([*sizes, len(table)], np.array(scores), context.prior.dim,
                         len(context.study.simulations), spent)

    @staticmethod
    def _fitted(context: Context, table: Simulations, n: int) -> object:
        with temporary_folder() as folder:
            problem = Problem(context.prior, context.view, context.study.seed, folder,
                              f"budget-{n}", table.select(slice(0, n)), outputs=context.view.outputs)
            return context.posterior.estimator.build().fit(problem)


def judged(sizes: list[int], scores: np.ndarray, dim: int, total: int, seconds: float) -> Verdict:
    """The verdict on log-scores (3, m) of fits to so many rows of `total`, which took so long."""
    means = scores.mean(axis=1)
    last = scores[2] - scores[1]
    before, gain = float(means[1] - means[0]), float(last.mean())
    error = float(last.std(ddof=1) / np.sqrt(len(last)))
    ratio = float(np.clip(gain / before, 0.5, 0.9)) if before > 0 else 0.7
    more = max(gain, 0.0)
    double = more * ratio
    tenfold = double * (1 - ratio**DOUBLINGS) / (1 - ratio)
    warn = double > WORTH * dim and gain > ERRORS * error
    curve = ", ".join(f"{m:.2f}" for m in means)
    evidence = (
        f"fitted to {sizes[0]:,}, {sizes[1]:,} and {sizes[2]:,} simulations, the held-out log-score is "
        f"{curve} nats; twice as many would bring about {double:.2f} ({_narrower(double, dim)}), ten "
        f"times as many {tenfold:.2f} ({_narrower(tenfold, dim)}); as many again take "
        f"{duration(seconds)} of one core")
    return Verdict(
        "budget", "WARN" if warn else "PASS", evidence,
        f"study.simulate({2 * total}), then fit again; or an estimator that learns more from as many, "
        "or fewer features" if warn else "",
        f"{scores.shape[1]:,} simulations that no estimator has seen",
        {"gain": gain, "error": error, "double": double, "tenfold": tenfold, "seconds": seconds},
        {"simulations": np.array(sizes), "log_score": means})


def _narrower(nats: float, dim: int) -> str:
    return f"posteriors {1 - math.exp(-nats / dim):.0%} narrower"
