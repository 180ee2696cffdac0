"""Checks of a fit: is it better than simple models, does it forecast, are its messages there.

Thresholds are conventions, told in the evidence beside the numbers they judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from inferkit import Verdict
from inferkit_mrsds.analyse.linear import Linear
from inferkit_mrsds.analyse.predict import hidden_neurons, score
from inferkit_mrsds.data import Trials

MOST_TRIALS = 60
"""A check looks at so many held-out trials, the linear baseline learns from twice as many."""


LEAST_APART = 0.1
"""A message less apart from its target's own dynamics is doubted.  In the double well, where the data
do not hold the message and fits get its sign wrong, fits had 0.01 to 0.03."""

WEAK = ("train longer, or more latents (d); where a linear model does as well, its dynamics are all "
        "that these data show")
LEAVES = ("run freely, the model leaves the data's range: longer training, overshoot, or inputs that "
          "are missing")


def held_out(engine: Any) -> tuple[Trials, str]:
    t = engine.held_out
    told = f"{min(len(t), MOST_TRIALS)} trials " + (
        "that were not trained on" if len(engine.test) else "that were trained on: none is held out")
    return t.select(slice(0, MOST_TRIALS)), told


class Baselines:
    """Cosmoothing and held-out likelihood beside the mean, a linear Gaussian model, and K = 1."""

    def run(self, context: Any) -> Iterator[Verdict]:
        engine = context.posterior.engine
        t, rests = held_out(engine)
        D = engine.model.generative.dynamics.R * engine.model.generative.dynamics.d
        learn = engine.data.select(engine.train[: 2 * MOST_TRIALS])
        linear = Linear.fit(learn, D, rounds=20)
        ours = engine.cosmooth(t)
        blind = Trials(t.y.copy(), t.u, t.lengths, t.session, t.region_sizes, {})
        neurons = hidden_neurons(t.region_sizes, 0.25, 0)
        blind.y[..., neurons] = np.nan
        theirs = score(t, linear.activity(blind), neurons, engine.c.emissions.family)
        numbers = {"cosmooth_r2": ours.r2, "linear_cosmooth_r2": theirs.r2}
        evidence = (
            f"hidden neurons are predicted with R² {ours.r2:.3f} (their mean: 0, a linear Gaussian "
            f"model of {D} latents: {theirs.r2:.3f})"
        )
        worse = ours.r2 < theirs.r2 - 0.01
        if engine.c.emissions.family == "gaussian":
            bins = t.mask.sum()
            known = np.isfinite(t.y).any(1)
            units = (
                np.where(known, np.log(engine.layout.scale[t.session]), 0.0).sum(1) * t.lengths
            ).sum()
            elbo = float((engine.elbo(t, n=4).sum() - units) / bins)
            exact = float(linear.log_likelihood(t).sum() / bins)
            numbers |= {"elbo": elbo, "linear_log_likelihood": exact}
            evidence += (f"; ELBO {elbo:.2f} nats a bin, the linear model's exact log-likelihood "
                         f"{exact:.2f}")
            worse = worse or elbo < exact - 0.01 * abs(exact)
        single = engine.info.get("single_state")
        if single:
            numbers |= {"single_cosmooth_r2": single["cosmooth_r2"], "single_elbo": single["elbo"]}
            evidence += f"; one state alone: R² {single['cosmooth_r2']:.3f}"
        elif engine.c.K > 1:
            evidence += "; one state alone: not fitted (baseline = true)"
        status = "FAIL" if ours.r2 <= 0 else "WARN" if worse else "PASS"
        yield Verdict(
            "mrsds-baselines",
            status,
            evidence,
            "" if status == "PASS" else WEAK,
            rests,
            numbers,
        )
        if single:
            gain = float(-min(engine.info["validation_loss"])) - single["elbo"]
            yield Verdict(
                "mrsds-states", "PASS" if gain > 0 else "WARN",
                f"K = {engine.c.K} has a held-out ELBO of {gain:+.3f} nats a bin over K = 1",
                "" if gain > 0 else "these data show no switching: K = 1", rests, {"gain": gain})


class Forecasts:
    """R^2 of activity by horizon, beside the guess that it stays as it is."""

    def run(self, context: Any) -> Iterator[Verdict]:
        engine = context.posterior.engine
        t, rests = held_out(engine)
        horizon = int(min(20, max(1, t.lengths.min() // 3)))
        found = engine.forecast_r2(t, horizon=horizon, n=10)
        model, stay = found["model"], found["stay"]
        last = int(np.flatnonzero(np.isfinite(model))[-1])
        better = np.nanmean(model - stay)
        status = "FAIL" if model[0] <= 0 else "WARN" if better <= 0 or model[last] <= 0 else "PASS"
        yield Verdict(
            "mrsds-forecast", status,
            f"R² {model[0]:.3f} a bin ahead, {model[last]:.3f} at {last + 1} bins (staying put: "
            f"{stay[0]:.3f}, {stay[last]:.3f})",
            "" if status == "PASS" else "the dynamics do not carry the activity on: more training, "
            "objective.overshoot = 0.5, or inputs that are missing",
            rests, {"first": float(model[0]), "last": float(model[last])},
            {"horizon": found["horizon"], "model": model, "stay": stay})


class MessageCheck:
    """Is each message there?  It must be needed, and not be own dynamics by another name."""

    def run(self, context: Any) -> Iterator[Verdict]:
        engine = context.posterior.engine
        t, rests = held_out(engine)
        found = engine.messages(t)
        R = len(found.share)
        if R == 1:
            yield Verdict("mrsds-messages", "NOT RUN", "one block of latents sends no messages")
            return
        fall = engine.ablation(t)
        doubtful, unneeded, told = [], [], []
        for i in range(R):
            for j in range(R):
                if i == j:
                    continue
                told.append(
                    f"{j}→{i}: share {found.share[i, j]:.0%}, ELBO falls {fall[i, j]:.3g} without "
                    f"it, {found.told_apart[i, j]:.1%} not own dynamics"
                )
                if found.share[i, j] < 0.05:
                    continue
                if fall[i, j] < 0.01:
                    unneeded.append(f"{j}→{i}")
                if found.told_apart[i, j] < LEAST_APART:
                    doubtful.append(f"{j}→{i}")
        remedy = []
        if unneeded:
            remedy.append(
                f"do not believe {', '.join(unneeded)}: the data are explained as well without "
                "(objective.message_l21 = 0.1 removes what is not needed)"
            )
        if doubtful:
            remedy.append(
                f"{', '.join(doubtful)} cannot be told from the target's own dynamics in these "
                "data: trials that start from, or are driven to, different places would tell"
            )
        yield Verdict(
            "mrsds-messages",
            "WARN" if remedy else "PASS",
            "; ".join(told),
            "; ".join(remedy),
            rests + "; a message counts from a share of 5 %, as needed from 0.01 nats a bin, as told "
            f"apart from {LEAST_APART:.0%}",
            {},
            {"share": found.share, "fall": fall, "told_apart": found.told_apart},
        )


class Stability:
    """Do fits from other seeds find the same states and messages?"""

    def run(self, context: Any) -> Iterator[Verdict]:
        engine = context.posterior.engine
        others = engine.info.get("fits") or []
        if not others:
            yield Verdict("mrsds-stability", "NOT RUN", "there is one fit", "fits = 3 trains three")
            return
        states = min(o["states"] for o in others)
        messages = min((o["messages"] for o in others if "messages" in o), default=float("nan"))
        apart = states < 0.9 or messages < 0.8
        yield Verdict(
            "mrsds-stability",
            "WARN" if apart else "PASS",
            f"of {len(others)} other fits, the least like it agrees in {states:.1%} of states"
            + (f" and correlates {messages:.2f} in messages" if messages == messages else ""),
            "believe only what the fits share; more trials, fewer states, or more restarts"
            if apart
            else "",
            "held-out trials",
            {"states": states, "messages": messages},
        )


class Statistics:
    """Does the model, run by itself, make activity like the data's?"""

    def run(self, context: Any) -> Iterator[Verdict]:
        engine = context.posterior.engine
        t, _ = held_out(engine)
        bins = int(t.lengths.min())
        t = t.until(bins)
        made = engine.generate(t.u, seed=1)["ys"]
        recorded = np.isfinite(t.y)
        made = np.where(recorded, made, np.nan)
        real = [_statistics(t.y, t.session), _statistics(made, t.session)]
        mean, sd = (float(np.corrcoef(real[0][k], real[1][k])[0, 1]) for k in (0, 1))
        spread = float(np.median(real[1][1] / real[0][1]))
        lag = float(np.median(np.abs(real[1][2] - real[0][2])))
        ok = min(mean, sd) > 0.8 and 0.7 < spread < 1.4 and lag < 0.1
        yield Verdict(
            "mrsds-predictive",
            "PASS" if ok else "WARN",
            f"the model's own trials agree with the data's over neurons: mean r = {mean:.2f}, "
            f"sd r = {sd:.2f} and {spread:.2f} of the data's, lag-1 correlation off by {lag:.2f}",
            "" if ok else LEAVES,
            f"{len(t)} trials of {bins} bins, and as many generated",
            {"mean": mean, "sd": sd, "sd_ratio": spread, "lag": lag},
        )


def _statistics(y: np.ndarray, session: np.ndarray) -> list[np.ndarray]:
    flat = y.reshape(-1, y.shape[-1])
    mean, sd = np.nanmean(flat, 0), np.nanstd(flat, 0) + 1e-12
    e = (y - mean) / sd
    return [mean, sd, np.nanmean((e[:, 1:] * e[:, :-1]).reshape(-1, y.shape[-1]), 0)]
