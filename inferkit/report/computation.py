"""Where simulations failed, and how the fit went."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from inferkit.diagnose import Checks, Context
from inferkit.diagnose.common import auc
from inferkit.report import style
from inferkit.report.section import figure, note, table, text
from inferkit.store import STATUS

SHOWN = 4000


def failures(context: Context, checks: Checks) -> str:
    rows = context.study.simulations
    if not len(rows):
        return note("No simulation of the prior is stored.")
    failed = rows.status != 0
    if not failed.any():
        return text(f"None of {len(rows):,} simulations failed.")
    messages = Counter((STATUS[s], m[:200]) for s, m in zip(rows.status, rows.messages) if s)
    told = table(["simulations", "status", "message of the failure"],
                 [[n, s, m] for (s, m), n in messages.most_common(8)])
    if failed.all():
        return text(f"All {len(rows):,} simulations failed.") + told
    theta = context.prior.pack(rows.theta)
    value, _ = auc(theta, failed)
    order = np.argsort(-np.abs(value - 0.5))[:2]
    names, units = context.prior.names, context.prior.units
    labels = [style.label(names[j], units.get(names[j], "")) for j in order]
    with style.drawing():
        fig = _map(theta[:, order], failed, labels)
    alt = f"Where in {' and '.join(names[j] for j in order)} simulations failed"
    caption = (f"{failed.sum():,} of {len(rows):,} failed, by the parameters most related to "
               "failing. Histograms: the share that failed.")
    return figure(fig, alt, caption) + told


def _map(theta: np.ndarray, failed: np.ndarray, labels: list[str]) -> Any:
    d = theta.shape[1]
    fig, axes = style.grid(1, d + (d == 2), style.WIDTH if d == 2 else 5.4, 3.2)
    for j in range(d):
        ax = axes[0, j]
        low, high = np.quantile(theta[:, j], [0.001, 0.999])
        edges = np.linspace(low, high if high > low else low + 1, 21)
        all_ = np.histogram(theta[:, j], edges)[0]
        share = np.histogram(theta[failed, j], edges)[0] / np.maximum(all_, 1)
        ax.stairs(share, edges, fill=True, color=style.FAILED, alpha=0.8)
        ax.set(xlabel=labels[j], ylim=(0, min(1.0, 1.2 * share.max() + 1e-3)), ylabel="share failed")
        ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.3g} %")
    if d == 2:
        ax = axes[0, 2]
        pick = np.random.default_rng(0).permutation(len(theta))[:SHOWN]
        for mask, colour, mark, words in ((~failed, style.PRIOR, ".", "ok"),
                                          (failed, style.FAILED, "x", "failed")):
            use = pick[mask[pick]]
            ax.plot(theta[use, 0], theta[use, 1], mark, ms=3 if mark == "." else 4, color=colour,
                    alpha=0.6, label=words, rasterized=len(use) > 400)
        ax.set(xlabel=labels[0], ylabel=labels[1])
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0,
                  handletextpad=0.2)
    return fig


def training(context: Context, checks: Checks) -> str:
    info = context.posterior.info
    generations = [g for g in info.get("generations") or [] if isinstance(g, dict)]
    losses = {k: np.ravel(np.asarray(info[k], dtype=float)) for k in ("loss", "validation_loss")
              if isinstance(info.get(k), (list, np.ndarray)) and len(info[k])}
    parts = []
    with style.drawing():
        if losses:
            parts.append(figure(_losses(losses), "Loss over epochs",
                                "Loss over epochs; it should level off, and validation not rise."))
        if generations:
            parts.append(figure(_generations(generations), "Tolerance and acceptance by generation",
                                "Sequential ABC: the tolerance falls, and with it the acceptance."))
    rows = [[k, v] for k, v in info.items()
            if isinstance(v, (int, float, str)) and not isinstance(v, bool)]
    rows += [[f"{k} of {name}", v] for k in ("rhat", "ess") if isinstance(info.get(k), dict)
             for name, v in list(info[k].items())[:20] if isinstance(v, (int, float))]
    if not parts:
        parts.append(note("This estimator records no curve of its training."))
    return "".join(parts) + table(["what the fit recorded", "value"], rows)


def _losses(losses: dict[str, np.ndarray]) -> Any:
    fig, axes = style.grid(1, 1, 6.4, 3.2)
    ax = axes[0, 0]
    for name, values in losses.items():
        held = name == "validation_loss"
        ax.plot(np.arange(1, len(values) + 1), values, color=style.POSTERIOR if held else style.PRIOR,
                label="validation" if held else "training")
    ax.set(xlabel="epoch", ylabel="loss")
    ax.legend()
    return fig


def _generations(told: list[dict]) -> Any:
    fig, axes = style.grid(1, 3, style.WIDTH, 2.9)
    t = np.arange(len(told))
    for ax, (key, words) in zip(axes[0], (("tolerance", "tolerance"), ("acceptance", "accepted"),
                                          ("ess", "effective size"))):
        values = np.array([float(g.get(key, np.nan)) for g in told])
        ax.plot(t, values, "o-", color=style.POSTERIOR, ms=4)
        ax.set(xlabel="generation", title=words)
        if key == "ess":
            ax.set_ylim(0, None)
        elif np.nanmin(values, initial=np.inf) > 0 and np.nanmax(values) > 20 * np.nanmin(values):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
            ax.yaxis.set_minor_formatter("")
        if key == "acceptance":
            ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.3g} %")
    return fig
