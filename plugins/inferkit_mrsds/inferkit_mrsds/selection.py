"""How many states and latents: fits over a grid, judged by held-out cosmoothing, on any executor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.data import Dataset


@dataclass
class Selection:
    """rows: a dict a fit (K, d, seed, cosmooth_r2, elbo).  best: (K, d), the smallest model within one
    standard error over seeds (at least 0.002) of the best mean R²."""

    rows: list[dict]
    best: tuple[int, int]

    def __str__(self) -> str:
        lines = ["K  d  seed  cosmooth R²  held-out ELBO"]
        lines += [f"{r['K']}  {r['d']}  {r['seed']:<4}  {r['cosmooth_r2']:<11.4f}  {r['elbo']:.3f}"
                  for r in self.rows if r["status"] == "ok"]
        return "\n".join([*lines, f"choose K = {self.best[0]}, d = {self.best[1]}"])


def select(observed: Any, K: Sequence[int] = (1, 2, 3), d: Sequence[int] = (1, 2, 3), *,
           seeds: Sequence[int] = (0,), path: str | Path = "runs/select", executor: Any = "local",
           quiet: bool = False, **settings: Any) -> Selection:
    """Fit every K and d to the data, each as a point of a sweep (kept, so it may be stopped and
    resumed).

    settings: of the estimator; `inference = "svae"` is taken for "s-svae" where K > 1.
    """
    from inferkit.commands import sweep

    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    data = Dataset.of(observed)
    file = folder / f"data-{data.digest[:12]}.npz"
    if not file.exists():
        np.savez(file, **data.pack())
    told = json.dumps(settings, sort_keys=True)
    points = [{"K": k, "d": n, "seed": s, "settings": told, "data": str(file.resolve())}
              for k in K for n in d for s in seeds]
    table = sweep.run(one, points, path=folder, executor=executor, quiet=quiet)
    return Selection(table.rows, choose(table.rows))


def one(K: int, d: int, seed: int, settings: str, data: str, path: Any) -> dict:
    """One point: a study of its own."""
    import inferkit as ik

    told = json.loads(settings)
    if K > 1 and told.get("inference") == "svae":
        told["inference"] = "s-svae"
    with np.load(data, allow_pickle=False) as held:
        observed = Dataset.of(dict(held))
    study = ik.Study(estimator=ik.estimator("mrsds", **{**told, "K": K, "d": d}), observed=observed,
                     path=path, seed=seed, quiet=True, executor=ik.executor("local", workers=0))
    engine = study.fit().engine
    return {"cosmooth_r2": engine.cosmooth().r2, "elbo": float(-min(engine.info["validation_loss"]))}


def choose(rows: list[dict]) -> tuple[int, int]:
    scores: dict[tuple[int, int], list[float]] = {}
    for r in rows:
        if r["status"] == "ok":
            scores.setdefault((r["K"], r["d"]), []).append(r["cosmooth_r2"])
    if not scores:
        from inferkit.errors import EstimatorError

        raise EstimatorError(f"none of {len(rows)} fits ended: {rows[0].get('message', '')}")
    best = max(scores, key=lambda k: float(np.mean(scores[k])))
    error = np.std(scores[best]) / np.sqrt(len(scores[best]))
    least = float(np.mean(scores[best])) - max(error, 0.002)
    good = [k for k, v in scores.items() if np.mean(v) >= least]
    return min(good, key=lambda k: (k[0] * k[1], k[1]))
