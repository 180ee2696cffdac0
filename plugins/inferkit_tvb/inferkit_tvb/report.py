"""The report's pictures of the network: its weights, regions in space, and FC against the data's."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.report import Section, figure, note, style, text
from inferkit_tvb import connectome

MANY = 400  # links drawn in space


def sections(context: Any) -> list[Section]:
    """Sections for a study of the `tvb` simulator."""
    config = context.study.simulator.config
    net = connectome.read(config.connectivity)
    found = [Section("Brain network", _matrix(net) + _space(context, net) + _engine(context))]
    connectivity = _fc(context)
    if connectivity:
        found.append(Section("Functional connectivity", connectivity))
    return found


def _engine(context: Any) -> str:
    try:
        told = context.study.built.provenance()
    except Exception as cause:
        return note(f"The engine is not known here: {cause}")
    if not told:
        return note("TVB is not installed here, so the engine is not known.")
    more = told.get("engine_details", "")
    return text(f"Simulated by the engine {told['engine']!r}{f' ({more})' if more else ''}.")


def _matrix(net: connectome.Connectome) -> str:
    with style.drawing():
        fig, axes = style.grid(1, 2, style.WIDTH, 4.2)
        shown = np.where(net.weights > 0, np.log10(np.where(net.weights > 0, net.weights, 1)), np.nan)
        for ax, matrix, word in ((axes[0, 0], shown, "log10 weight"),
                                 (axes[0, 1], np.where(net.weights > 0, net.lengths, np.nan),
                                  "tract length (mm)")):
            image = ax.imshow(matrix, cmap="viridis", interpolation="nearest")
            fig.colorbar(image, ax=ax, label=word, shrink=0.8)
            ax.set(xlabel="from region", ylabel="to region")
    edges = int((net.weights != 0).sum())
    return figure(fig, "Weights and tract lengths of the connectome as matrices",
                  f"{net.regions} regions, {edges:,} connections.")


def regional(context: Any, regions: int) -> tuple[str, np.ndarray] | None:
    """A parameter's posterior mean in each region, where one has a value in each."""
    samples = context.samples
    if samples is None or samples.values.ndim != 2:
        return None
    names = list(context.prior.names)
    for name in dict.fromkeys(n.rpartition("[")[0] for n in names):
        columns = [k for k, n in enumerate(names) if n.rpartition("[")[0] == name]
        if name and len(columns) == regions:
            return name, samples.values[:, columns].mean(0)
    simulator = context.study.built
    groups = getattr(simulator, "_parts", (None, None))[1]
    for path, (base, _) in getattr(groups, "groups", {}).items():
        if path in names:
            value = np.full(regions, np.nan)
            for p, (b, mask) in groups.groups.items():
                if b == base and p in names:
                    value[mask] = samples.values[:, names.index(p)].mean()
            return base, value
    return None


def _space(context: Any, net: connectome.Connectome) -> str:
    if not net.placed:
        return note("The connectome has no centres, so its regions are not drawn in space.")
    told = regional(context, net.regions)
    strength = net.weights.sum(1)
    colour, word = (told[1], f"posterior mean of {told[0]}") if told else (strength,
                                                                           "sum of weights in")
    i, j = np.nonzero(np.triu(net.weights + net.weights.T, 1))
    order = np.argsort(-(net.weights + net.weights.T)[i, j])[:MANY]
    with style.drawing():
        fig, axes = style.grid(1, 2, style.WIDTH, 4.6)
        for ax, (a, b), words in ((axes[0, 0], (0, 1), ("left to right", "back to front")),
                                  (axes[0, 1], (1, 2), ("back to front", "down to up"))):
            for k in order:
                ax.plot(net.centres[[i[k], j[k]], a], net.centres[[i[k], j[k]], b], color=style.GRID,
                        lw=0.6, zorder=0)
            drawn = ax.scatter(net.centres[:, a], net.centres[:, b], c=colour, cmap="viridis",
                               s=20 + 80 * strength / strength.max(), edgecolors=style.INK,
                               linewidths=0.5)
            ax.set(xlabel=f"{words[0]} (mm)", ylabel=f"{words[1]} (mm)", aspect="equal")
        fig.colorbar(drawn, ax=axes[0, 1], label=style.label(word, longest=40), shrink=0.8)
    return figure(fig, f"Regions in space, coloured by {word}",
                  f"Regions at their centres from above and from the right; area: sum of weights in; "
                  f"lines: the strongest {len(order)} links.")


def _correlations(x: np.ndarray) -> np.ndarray:
    """(…, time, regions) to the correlations of regions."""
    d = x - x.mean(-2, keepdims=True)
    with np.errstate(all="ignore"):
        d = d / np.sqrt((d * d).sum(-2, keepdims=True))
    return np.swapaxes(d, -1, -2) @ d


def _fc(context: Any) -> str:
    """FC of each output (time, regions): observed, predictive, and pair by pair."""
    raw = context.observed_raw or {}
    try:
        found = context.predictive
    except Exception as cause:
        return note(f"There are no predictive simulations: {str(cause).partition(chr(10))[0]}")
    if found is None or not found.ok.any():
        return ""
    parts = []
    for name, simulated in found.x.items():
        output = context.view.outputs.get(name)
        if output is None or output.dims != ("time",
                                             "node") or np.shape(raw.get(name)) != output.shape \
                or output.shape[1] < 3:
            continue
        own = _correlations(np.asarray(raw[name], float))
        mean = np.nanmean(_correlations(np.asarray(simulated[found.ok], float)), axis=0)
        pairs = np.triu_indices(len(own), 1)
        r = np.corrcoef(own[pairs], mean[pairs])[0, 1]
        with style.drawing():
            fig, axes = style.grid(1, 3, style.WIDTH, 3.6)
            for ax, matrix, word in ((axes[0, 0], own, "observed"),
                                     (axes[0, 1], mean, "posterior predictive, mean")):
                image = ax.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
                ax.set_title(word)
            fig.colorbar(image, ax=axes[0, 1], label="correlation", shrink=0.8)
            axes[0, 2].plot(mean[pairs], own[pairs], ".", color=style.POSTERIOR, ms=3, alpha=0.5)
            axes[0, 2].axline((0, 0), slope=1, color=style.MUTED, lw=0.8)
            axes[0, 2].set(xlabel="predictive", ylabel="observed", title=f"pairs: r = {r:.2f}")
        parts.append(figure(fig, f"Functional connectivity of {name}, observed and predictive",
                            f"Functional connectivity of {name}."))
    return "".join(parts)
