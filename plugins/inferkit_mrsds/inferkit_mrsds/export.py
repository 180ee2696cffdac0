"""The original program's results file, `*_latents.mat`, from a fit.

    inferkit_mrsds.export_mat(engine, "x_latents.mat")

Arrays are (trial, time, …), 0 behind a trial's end.  `loga_*` are the log odds of changes (from, to),
`logb_*` the log densities of the latents in each state, along the posterior's centre; `*_gen1_*` judge
activity predicted one bin ahead.  Curves have a value a look (training.evaluate), nats a bin: elbos =
log_pys + log_pxs - log_qxs, where log_pxs counts states too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inferkit_mrsds.analyse.recovery import activity_r2

if TYPE_CHECKING:
    from inferkit_mrsds.engine import Engine

CURVES = {"elbos": "elbo", "log_pys": "log_y", "log_qxs": "log_q", "lrs": "rate",
          "temps": "temperature"}


def export_mat(engine: Engine, path: str | Path) -> Path:
    from scipy.io import savemat

    t, x, m, along = engine.data, engine.latents(), engine.messages(), engine.along()
    p, recon = engine.states(), engine.activity()
    whole = {
        "xs": x.reshape(*x.shape[:2], -1), "zs": p, "us": t.u, "ys": t.y, "ys_recon": recon,
        "msgs": np.concatenate([_with_own(m), m.inputs[:, :, :, None]], 3), "norms": m.norms,
        "loga": along.log_a, "logb": along.log_b}
    out: dict[str, Any] = {}
    for name, rows in (("train", engine.train), ("test", engine.test)):
        if not len(rows):
            continue
        out |= {f"{k}_{name}": v[rows] for k, v in whole.items()}
        out |= {f"{name}_ids": rows, f"{name}_lengths": t.lengths[rows],
                "zs_logprob" if name == "train" else "zs_logprob_test":
                    np.log(np.maximum(p[rows], 1e-30))}
        live = t.mask[rows]
        for kind, guess in (("", recon), ("gen1_", along.activity)):
            y, guess = t.y[rows][live], guess[rows][live]
            out[f"{name}_{kind}mses"] = np.nanmean((y - guess) ** 2)
            out[f"{name}_{kind}r2s"] = activity_r2(y, guess)["pooled"]
    dyn = engine.model.generative.dynamics
    out["latent_region_sizes"] = np.full(dyn.R, dyn.d)
    curves = engine.info["curves"]
    out |= {name: np.asarray(curves[key]) for name, key in CURVES.items()}
    out["log_pxs"] = out["log_qxs"] - np.asarray(curves["kl"])
    hidden = engine.cosmooth()
    truth = engine.held_out.y[..., hidden.neurons]
    out |= {"cosmooth_r2s": hidden.r2, "cosmooth_mses": np.nanmean((truth - hidden.predicted) ** 2)}
    file = Path(path)
    savemat(file, {k: np.nan_to_num(v) for k, v in out.items()})
    return file


def _with_own(m: Any) -> np.ndarray:
    """Centred messages with each region's own step on the diagonal, (…, target, source, latent)."""
    out = m.centred.copy()
    for r in range(out.shape[2]):
        out[:, :, r, r] = m.own[:, :, r]
    return out
