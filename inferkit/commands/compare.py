"""`inferkit compare`: several estimators on the same stored simulations, in one table and picture.

The log-score is the mean log-density of the true parameters under the posterior, over held-out
simulations (higher is better).  Where an estimator gives no density, or only by sampling for each, as
nle and nre do, it is a Gaussian kernel estimate in unconstrained space, over fewer simulations: compare
like with like.  An estimator that consumes observations alone has none; in its place stands what it
says of the data's log-likelihood, if it does.  Coverage error is the worst gap of the central 50, 80,
90 and 95 % intervals.  Where the simulator is a reference task, distances to the exact posterior are
given as well: the worst standardised error of a mean and sd.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.diagnose import Context
from inferkit.diagnose.context import CALIBRATION_ROWS
from inferkit.diagnose.scores import by_draws
from inferkit.errors import InferkitError
from inferkit.estimate import digest
from inferkit.plugins import Component, chosen, registry
from inferkit.posterior import Samples
from inferkit.progress import duration
from inferkit.store import if_possible, make_folder, write_atomic, writing_to
from inferkit.study import Study

BY_CHAINS = 60
"""So many held-out simulations score an estimator that runs chains for each; `check` takes all."""
LEVELS = (0.5, 0.8, 0.9, 0.95)
CURVE = np.arange(0.05, 1.0, 0.05)
MOST, ACROSS = 8, 4  # parameters in the picture, and in one line of it


@dataclass
class Row:
    """One estimator's line; NaN where it could not be computed."""

    estimator: str
    status: str
    simulations: int
    seconds: float
    log_score: float
    coverage_error: float
    contraction: float
    reference_error: float
    covered: np.ndarray  # share of parameters inside central intervals, for each of CURVE
    reason: str = ""  # why there is nothing else
    samples: Samples | None = None  # for the study's observation, where it has one

    @classmethod
    def missing(cls, estimator: str, reason: str) -> Row:
        return cls(estimator, "-", 0, np.nan, np.nan, np.nan, np.nan, np.nan,
                   np.full(len(CURVE), np.nan), reason)


@dataclass
class Comparison:
    rows: list[Row]
    truth: Mapping[str, Any] | None = None
    stopped: bool = False

    def picture(self, file: str | Path) -> Path:
        """Calibration curves, log-scores and times of all, and their posteriors over each other."""
        from inferkit import plot
        from inferkit.plot import style

        names = [r.estimator for r in self.rows]
        names = [n if n not in names[:k] else f"{n} ({k + 1})" for k, n in enumerate(names)]
        colours = {n: style.SERIES[k % len(style.SERIES)] for k, n in enumerate(names)}
        drawn = {n: r.samples for n, r in zip(names, self.rows) if r.samples is not None}
        shown = list(next(iter(drawn.values())).names)[:MOST] if drawn else []
        top = 1.2 + 0.45 * max(5, len(names))
        lines = -(-len(shown) // ACROSS)
        with style.drawing():
            fig = style.figure(11.0, top + 2.6 * lines)
            upper, *lower = np.ravel(fig.subfigures(1 + bool(drawn), 1, height_ratios=[
                top, 2.6 * lines][: 1 + bool(drawn)]))
            curve, score, time = upper.subplots(1, 3)
            if drawn:
                below = lower[0].subplots(lines, min(ACROSS, len(shown)), squeeze=False).ravel()
                for ax in below[len(shown) :]:
                    ax.set_visible(False)
                plot.compare(drawn, names=shown, truth=self.truth, axes=below[: len(shown)],
                             colours=[colours[n] for n in drawn])
            curve.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
            for name, row in zip(names, self.rows):
                curve.plot(CURVE, row.covered, label=name, marker="o", markersize=3,
                           color=colours[name])
            curve.set_xlabel("central interval")
            curve.set_ylabel("true parameters inside")
            curve.set_title("calibration")
            curve.legend(frameon=False)
            places = np.arange(len(names))[::-1]
            # Differences from the best: log-scores have no zero that means anything.
            scores = np.array([r.log_score for r in self.rows])
            best = np.nanmax(scores) if np.isfinite(scores).any() else 0.0
            lost, seconds = best - scores, [r.seconds for r in self.rows]
            for ax, title, unit, values in ((score, "log-score", "nats below the best", lost),
                                            (time, "fit", "seconds", seconds)):
                ax.barh(places, values, height=0.6, color=list(colours.values()))
                ax.set_yticks(places, names)
                ax.set_ylim(-0.6, len(names) - 0.4)
                ax.set_xlabel(unit)
                ax.set_title(title)
            with writing_to(Path(file)):
                fig.savefig(file, dpi=150)
        return Path(file)

    def __str__(self) -> str:
        head = ["estimator", "checks", "simulations", "fit", "log-score", "coverage error",
                "contraction", "vs reference"]
        body = [[r.estimator, r.status, f"{r.simulations:,}", _spent(r.seconds),
                 _number(r.log_score), _number(r.coverage_error), _number(r.contraction),
                 _number(r.reference_error)] for r in self.rows]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip()
                 for line in [head, *body]]
        return "\n".join(lines + [f"{r.estimator}: {r.reason}" for r in self.rows if r.reason])


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _spent(seconds: float) -> str:
    return "-" if np.isnan(seconds) else duration(seconds)


def run(study: Study, estimators: list[Any], simulate: int = 0) -> Comparison:
    """Fit each on what is stored (fits made before are loaded) and examine it alike.

    simulate: so many new simulations may run in all; without any, an estimator that needs its own has
    no row.  One that cannot be fitted has a row that says why, and costs the others nothing; each row
    is told as it comes and kept, so that a comparison that was stopped goes on.
    """
    asked = [_within(chosen("estimator", given), simulate) for given in estimators]
    known = {e.name: _pairs(study, e) for e in asked}  # before any trains
    say, rows, before = study.reporter.say, [], study.running.limit
    held, allowed = min(CALIBRATION_ROWS, len(study.held_out)), f"{simulate:,}" if simulate else "no"
    say(f"compare: {len(asked)} estimators on {len(study.training):,} stored simulations, scored on "
        f"{held} others ({min(held, BY_CHAINS)} where each needs chains); {allowed} new simulations"
        + ("" if simulate else " (--simulate N for those that need their own)"))
    study.running.limit = simulate
    try:
        for i, estimator in enumerate(asked):
            say(f"{i + 1} of {len(asked)}: {estimator.name}")
            try:
                rows.append(Row.missing(estimator.name, known[estimator.name]) if known[estimator.name]
                            else _row(study, estimator))
            except InferkitError as cause:
                rows.append(Row.missing(estimator.name, str(cause)))
            say(str(Comparison(rows[-1:])).partition("\n")[2])
    except KeyboardInterrupt:
        left = [e.name for e in asked[len(rows):]]
        return Comparison(
            [*rows, *(Row.missing(name, "stopped; the same command goes on") for name in left)],
            study.truth, True)
    finally:
        study.running.limit = before
    return Comparison(rows, study.truth)


def _within(estimator: Component, simulations: int) -> Component:
    """The estimator, told how many simulations it may make where it can be told."""
    most = getattr(estimator.config, "max_simulations", None)
    if not simulations or most is None or most <= simulations:
        return estimator
    return replace(estimator, config=replace(estimator.config, max_simulations=simulations))


def _pairs(study: Study, estimator: Component) -> str:
    """Why an estimator cannot work with this study, if it cannot."""
    try:
        study.check_pairing(estimator, study.observed)
    except InferkitError as cause:
        return str(cause)
    return ""


def _row(study: Study, estimator: Any) -> Row:
    posterior = study.fit(estimator)
    context = study.context()
    file = study.path / "compare" / f"{posterior.info['fit']}-{digest(context.observed_inputs)}.json"
    fitted = study.path / "fits" / posterior.info["fit"] / "posterior.json"
    if file.exists() and file.stat().st_mtime >= fitted.stat().st_mtime:
        kept = json.loads(file.read_text())
        return Row(**{**kept, "covered": np.array(kept["covered"])}, samples=_single(context.samples))
    if context.estimator.iid:
        context.calibration_rows = BY_CHAINS
    study.reporter.say(f"{estimator.name}: being scored")
    # All but the one that fits again, to see what more simulations would bring.
    names = [s.name for s in registry().all("diagnostic") if s.name != "budget"]
    row = Row(estimator.name, study.examine(context, names).status, int(posterior.info.get("rows", 0)),
              float(posterior.info.get("seconds", np.nan)), *_calibration(context),
              _reference(study, context), _covered(context, CURVE))
    told = {k: v for k, v in vars(row).items() if k != "samples"}
    with if_possible("the score is", study.reporter.say):
        make_folder(file.parent)
        write_atomic(file, [json.dumps({**told, "covered": row.covered.tolist()}).encode()])
    return replace(row, samples=_single(context.samples))


def _single(samples: Samples | None) -> Samples | None:
    return samples if samples is None or samples.values.ndim == 2 else samples[0]


def _calibration(context: Context) -> tuple[float, float, float]:
    held = context.calibration
    if held is None:
        told = context.posterior.info.get("log_likelihood", np.nan)
        return float(told), np.nan, np.nan
    low, high = _intervals(held, np.array(LEVELS))
    inside = (held.theta >= low) & (held.theta <= high)
    error = np.abs(inside.mean(axis=1) - np.array(LEVELS)[:, None]).max()
    contraction = 1 - held.draws.var(axis=1).mean(axis=0) / held.theta.var(axis=0)
    # From draws, whether there are densities or not: scores of two kinds would not compare.
    score = float(by_draws(context.prior, held.theta, held.draws).mean())
    return score, float(error), float(contraction.mean())


def _intervals(held: Any, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends (levels, held-out rows, parameters) of the central intervals."""
    return (np.quantile(held.draws, (1 - levels) / 2, axis=1),
            np.quantile(held.draws, (1 + levels) / 2, axis=1))


def _covered(context: Context, levels: np.ndarray) -> np.ndarray:
    held = context.calibration
    if held is None:
        return np.full(len(levels), np.nan)
    low, high = _intervals(held, levels)
    return ((held.theta >= low) & (held.theta <= high)).mean(axis=(1, 2))


def _reference(study: Study, context: Context) -> float:
    reference = getattr(study.built, "reference_posterior", None)
    if reference is None or context.observed_raw is None or context.samples is None:
        return np.nan
    exact = reference(2000, context.observed_raw, context.rng(9))
    mine = context.samples.values
    sd = exact.std(axis=0)
    return float(max(np.abs((mine.mean(0) - exact.mean(0)) / sd).max(),
                     np.abs(mine.std(0) / sd - 1).max()))
