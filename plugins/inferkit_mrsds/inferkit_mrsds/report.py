"""The report's pages of a fit: states, latents, fields, messages over time, forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.report import Section, figure, style, table, text
from inferkit_mrsds.data import Trials

TRIALS = 12
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")


def sections(context: Any) -> list[Section]:
    engine = context.posterior.engine
    t = engine.held_out.select(slice(0, TRIALS))
    parts = [latents(engine, t, context)]
    if engine.c.K > 1:
        parts.insert(0, states(engine, t))
    parts.append(fields(engine))
    found = engine.messages(engine.held_out)
    if len(found.share) > 1:
        parts.append(messages(found))
    parts.append(forecast(engine))
    return [Section("Switching dynamics", "".join(parts), "mrsds")]


def states(engine: Any, t: Trials) -> str:
    """Each trial a row, the most probable state a colour."""
    from matplotlib.colors import ListedColormap

    path = np.where(t.mask, engine.viterbi(t), np.nan)
    with style.drawing():
        fig, axes = style.grid(1, 1, style.WIDTH, 0.9 + 0.18 * len(t))
        ax = axes[0, 0]
        ax.imshow(path, aspect="auto", interpolation="nearest", vmin=-0.5, vmax=engine.c.K - 0.5,
                  cmap=ListedColormap(COLOURS[: engine.c.K]))
        ax.set(xlabel="bin", ylabel="trial")
    share = [float(np.nanmean(path == k)) for k in range(engine.c.K)]
    return figure(
        fig,
        "State of each trial over time",
        "The most probable path of states; of all bins: "
        + ", ".join(f"state {k} {s:.0%}" for k, s in enumerate(share))
        + ".",
    )


def latents(engine: Any, t: Trials, context: Any) -> str:
    """One trial's latents, mean and 90 % band."""
    one = t.select(slice(0, 1))
    drawn = engine.draws(40, one, context.rng(7))["latents"][:, 0]
    n, T, R, d = drawn.shape
    with style.drawing():
        fig, axes = style.grid(R, 1, style.WIDTH, 0.7 + 1.6 * R, sharex=True)
        for r in range(R):
            for k in range(d):
                low, high = np.nanquantile(drawn[:, :, r, k], [0.05, 0.95], axis=0)
                axes[r, 0].fill_between(np.arange(T), low, high, color=style.BAND, lw=0)
                axes[r, 0].plot(drawn[:, :, r, k].mean(0), color=COLOURS[k % len(COLOURS)])
            axes[r, 0].set_ylabel(f"region {r}")
        axes[-1, 0].set_xlabel("bin")
    return figure(
        fig,
        "Latents of one held-out trial, by region",
        "Posterior mean and 90 % band of each "
        "region's latents in one held-out trial, in units of the principal components.",
    )


def fields(engine: Any) -> str:
    """A region's own dynamics in each state."""
    dyn = engine.model.generative.dynamics
    with style.drawing():
        fig, axes = style.grid(engine.c.K, dyn.R, 3.2 * dyn.R + 0.5, 2.9 * engine.c.K + 0.3)
        for k in range(engine.c.K):
            for r in range(dyn.R):
                ax, f = axes[k, r], engine.vector_field(r, k, points=14)
                if f["position"].shape[-1] == 1:
                    ax.plot(f["position"][..., 0], f["step"][..., 0], color=style.POSTERIOR)
                    ax.axhline(0, color=style.MUTED, lw=0.8)
                else:
                    ax.quiver(*np.moveaxis(f["position"], -1, 0), *np.moveaxis(f["step"], -1, 0),
                              color=style.POSTERIOR, angles="xy")
                ax.set_title(f"region {r}, state {k}")
    return figure(
        fig,
        "Each region's own dynamics in each state",
        "The step that a region's own dynamics make, with messages at their means and no input.",
    )


def messages(found: Any) -> str:
    """Size of each message over time, and what is known of it."""
    R = len(found.share)
    with style.drawing():
        fig, axes = style.grid(R, R, style.WIDTH, 1.3 * R + 0.5, sharex=True, sharey="row")
        for i in range(R):
            for j in range(R):
                ax = axes[i, j]
                if i == j:
                    ax.axis("off")
                    continue
                ax.plot(np.nanmean(found.norms[:, 1:, i, j], 0), color=style.POSTERIOR)
                ax.set_title(f"{j} → {i}")
        fig.supxlabel("bin", fontsize=10)
    rows = [[f"{j} → {i}", float(found.share[i, j]), float(found.told_apart[i, j])]
            for i in range(R) for j in range(R) if i != j]
    return (
        figure(
            fig,
            "Size of each centred message over the trial, target by row and source by column",
            "Norm of each centred message, averaged over held-out trials.",
        )
        + table(["message", "share", "not own dynamics"], rows)
        + text(
            "“Not own dynamics” is the share of a message's variance that the target's own latents "
            "and inputs do not explain; near 0, these data cannot tell it from own dynamics."
        )
    )


def forecast(engine: Any) -> str:
    t = engine.held_out.select(slice(0, 40))
    found = engine.forecast_r2(t, horizon=int(min(20, max(1, t.lengths.min() // 3))), n=10)
    with style.drawing():
        fig, axes = style.grid(1, 1, 6.0, 3.2)
        ax = axes[0, 0]
        ax.plot(found["horizon"], found["model"], color=style.POSTERIOR, label="model")
        ax.plot(found["horizon"], found["stay"], color=style.MUTED, ls="--", label="stays as it is")
        ax.set(xlabel="bins ahead", ylabel="R²", ylim=(min(0.0, np.nanmin(found["model"])), 1))
        ax.legend()
    return figure(
        fig,
        "R² of forecast activity by horizon",
        "Activity forecast from the bins before, on held-out trials.",
    )
