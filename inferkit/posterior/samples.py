"""Named draws with units, of one observation or of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit import shown
from inferkit.errors import EstimatorError, unknown_name
from inferkit.posterior.predicted import Predicted
from inferkit.protocols import Prior

MOST = 5
"""So many observations are printed."""


class Samples:
    """Posterior (or prior) draws: (n, d), or (m, n, d) for m observations."""

    def __init__(self, values: np.ndarray, names: tuple[str, ...], units: Mapping[str, str],
                 prior: Prior | None = None, chains: np.ndarray | None = None,
                 stats: Mapping[str, np.ndarray] | None = None):
        self.values, self.names, self.units, self.prior = values, tuple(names), dict(units), prior
        self.chains, self.stats = chains, dict(stats or {})  # (chain, draw, d), {name: (chain, draw)}

    def __getitem__(self, name: str | int) -> Any:
        """A parameter's draws (n,) or (m, n), its own shape behind; or the i-th of m observations."""
        if isinstance(name, (int, np.integer)):
            if self.values.ndim != 3:
                raise EstimatorError(f"samples[{name}]: these are draws for one observation",
                                     fix=f"samples[{self.names[0]!r}]")
            return Samples(self.values[name], self.names, self.units, self.prior)
        if name in self.names:
            return self.values[..., self.names.index(name)]
        at = [i for i, n in enumerate(self.names) if n.startswith(f"{name}[")]
        shapes = getattr(self.prior, "parameters", {})
        if not at or name not in shapes:
            raise unknown_name("parameter", name, shapes or self.names)
        return self.values[..., at].reshape(*self.values.shape[:-1], *shapes[name][0])

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.values, dtype=dtype)

    def by_name(self) -> dict[str, np.ndarray]:
        """Draws by name as a simulator takes them, vectors put together again (one observation)."""
        if self.prior is None or self.values.ndim != 2:
            return {n: self[n] for n in self.names}
        return self.prior.unpack(self.values)

    def summary(self) -> list[dict[str, Any]]:
        """Mean, sd and quantiles of each parameter, for each observation: rows for a data frame."""
        if self.values.ndim == 3:
            return [{"observation": i, **row} for i in range(len(self)) for row in self[i].summary()]
        rows = []
        for name in self.names:
            v = self[name]
            q5, q50, q95 = np.quantile(v, [0.05, 0.5, 0.95])
            rows.append({"name": name, "unit": self.units.get(name, ""), "mean": v.mean(),
                         "sd": v.std(ddof=1), "q5": q5, "median": q50, "q95": q95})
        return rows

    def to_arviz(self, *, predicted: Predicted | None = None, prior_predicted: Predicted | None = None,
                 observed: Any = None) -> Any:
        """For ArviZ: posterior and prior, with the sampler's own chains and statistics where it ran
        chains (all of them, however many draws were asked for); units travel as attributes.

        predicted, prior_predicted: simulations, which become posterior_predictive and
        prior_predictive; observed: what they are compared with.  `study.to_arviz()` gives all.
        """
        from inferkit.posterior import arviz

        return arviz.groups(self, predicted, prior_predicted, observed)

    def __repr__(self) -> str:
        lines = [f"Samples of shape {self.values.shape}"]
        shown = self.summary()[: MOST * len(self.names)] if self.values.ndim == 3 else self.summary()
        for k, r in enumerate(shown):
            if "observation" in r and k % len(self.names) == 0:
                lines.append(f" observation {r['observation']}")
            unit = f" {r['unit']}" if r["unit"] else ""
            lines.append(f"  {r['name']:<20} {r['mean']:.4g} ± {r['sd']:.2g}{unit}"
                         f"   [{r['q5']:.4g}, {r['q95']:.4g}]")
        if self.values.ndim == 3 and len(self) > MOST:
            lines.append(f" … and {len(self) - MOST} more observations: samples[{MOST}], summary()")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        several = self.values.ndim == 3
        head = ["observation"] * several + ["parameter", "unit", "mean", "sd", "5 %", "median", "95 %"]
        rows = [[*([r["observation"]] if several else []), r["name"], r["unit"],
                 *(float(r[k]) for k in ("mean", "sd", "q5", "median", "q95"))]
                for r in self.summary()[: MOST * len(self.names) if several else None]]
        told = f"{len(self)} observations, " if several else ""
        more = len(self) - MOST if several else 0
        return shown.titled(f"{told}{self.values.shape[-2]:,} draws", shown.table(head, rows), (
            shown.line(f"and {more} more observations: summary()") if more > 0 else ""))
