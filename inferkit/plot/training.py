"""How the fit went, and where simulations failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.errors import ConfigError
from inferkit.plot import style
from inferkit.posterior import Posterior

SHOWN = 4000


def loss(fitted: Posterior | Mapping[str, Any], *, ax: Any = None) -> Any:
    """Training and validation loss over epochs, of a posterior (or of its `info`)."""
    info = fitted.info if isinstance(fitted, Posterior) else fitted
    curves = losses(info)
    if not curves:
        name = f" of {fitted.estimator.name!r}" if isinstance(fitted, Posterior) else ""
        raise ConfigError(f"the fit{name} recorded no loss",
                          allowed="estimators that train (npe, nle, nre, bayesflow, svi, …)")
    with style.drawing():
        ax = style.panels(ax, 1, 1, 6.4, 3.2)[0, 0]
        for name, values in curves.items():
            held = name == "validation_loss"
            ax.plot(np.arange(1, len(values) + 1), values,
                    color=style.POSTERIOR if held else style.PRIOR,
                    label="validation" if held else "training")
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()
    return ax


def losses(info: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {k: np.ravel(np.asarray(info[k], dtype=float)) for k in ("loss", "validation_loss")
            if isinstance(info.get(k), (list, np.ndarray)) and len(info[k])}


def generations(told: Sequence[Mapping[str, Any]], *, axes: Any = None) -> np.ndarray:
    """Sequential ABC: tolerance, acceptance and effective size by generation; three axes."""
    t = np.arange(len(told))
    with style.drawing():
        axes = style.panels(axes, 1, 3, style.WIDTH, 2.9)[0]
        for ax, (key, words) in zip(axes, (("tolerance", "tolerance"), ("acceptance", "accepted"),
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
    return axes


def failures(theta: np.ndarray, failed: np.ndarray, labels: Sequence[str], *, axes: Any = None
             ) -> np.ndarray:
    """The share that failed along one or two parameters (n, d), and for two a map; d or 3 axes."""
    d = theta.shape[1]
    panels = d + (d == 2)
    with style.drawing():
        axes = style.panels(axes, 1, panels, style.WIDTH if d == 2 else 5.4, 3.2)[0]
        for j in range(d):
            ax = axes[j]
            low, high = np.quantile(theta[:, j], [0.001, 0.999])
            edges = np.linspace(low, high if high > low else low + 1, 21)
            all_ = np.histogram(theta[:, j], edges)[0]
            share = np.histogram(theta[failed, j], edges)[0] / np.maximum(all_, 1)
            ax.stairs(share, edges, fill=True, color=style.FAILED, alpha=0.8)
            ax.set(xlabel=labels[j], ylim=(0, min(1.0, 1.2 * share.max() + 1e-3)),
                   ylabel="share failed")
            ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.3g} %")
        if d == 2:
            ax = axes[2]
            pick = np.random.default_rng(0).permutation(len(theta))[:SHOWN]
            for mask, colour, mark, words in ((~failed, style.PRIOR, ".", "ok"),
                                              (failed, style.FAILED, "x", "failed")):
                use = pick[mask[pick]]
                ax.plot(theta[use, 0], theta[use, 1], mark, ms=3 if mark == "." else 4, color=colour,
                        alpha=0.6, label=words, rasterized=len(use) > 400)
            ax.set(xlabel=labels[0], ylabel=labels[1])
            ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0,
                      handletextpad=0.2)
    return axes
