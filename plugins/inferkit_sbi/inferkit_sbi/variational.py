"""A flow fitted to one observation's learned posterior, and its draws corrected by importance.

    maximise  E_q [ b log L(z) + log N(z; 0, I) - log q(z) ]

over an unconditional flow q, trained by reparametrised draws; its layers are couplings, which are drawn
from as fast as evaluated.  L enters little by little, b from 0 to 1 over the first half, so q begins
at the prior and has less cause to settle on one mode of several (it may still: the slice sampler is the
safe choice).  The flow alone misses tails; so draws are resampled by weights

    w = L(z) N(z; 0, I) / q(z),

whose Pareto k-hat says whether to believe them: above 0.7 they are too uneven.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from inferkit.posterior.importance import smoothed
from inferkit_sbi.train import one_thread

STEPS, BATCH, RATE = 400, 256, 5e-3
OVERSAMPLED = 8


@one_thread()
def sample(engine: Any, trials: list[torch.Tensor], n: int, rng: np.random.Generator
           ) -> tuple[np.ndarray, dict]:
    """(m, n, d) draws for m observations, and the worst k-hat."""
    out, worst = [], -np.inf
    for i in range(len(trials[0])):
        torch.manual_seed(int(rng.integers(2**62)))
        one = [t[i : i + 1] for t in trials]
        q = fitted(engine, one)
        with torch.no_grad():
            z, log_q = q().rsample_and_log_prob((OVERSAMPLED * n,))
            log_w = log_likelihood(engine, z, one) - 0.5 * (z**2).sum(1) - log_q
        draws, weights = z.double().numpy(), log_w.double().numpy()
        if engine.space.constrained:
            weights[~engine.space.allowed(engine.space.from_z(draws))] = -np.inf
        w, khat = smoothed(np.where(np.isfinite(weights), weights, -np.inf))
        worst = max(worst, khat)
        out.append(draws[rng.choice(len(draws), n, p=w)])
    return np.array(out), {"khat": float(worst)}


def log_likelihood(engine: Any, z: torch.Tensor, trials: list[torch.Tensor]) -> torch.Tensor:
    return engine.log_l_tensor(z, [t.expand(len(z), *t.shape[1:]) for t in trials])


def fitted(engine: Any, trials: list[torch.Tensor]) -> Any:
    """The flow of the largest evidence bound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from zuko.flows import MAF, NSF

    dim = engine.space.dim
    q = (NSF(dim, transforms=4, hidden_features=(32, 32), passes=2) if dim > 1
         else MAF(dim, transforms=2, hidden_features=(16,)))
    optimiser = torch.optim.Adam(q.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for net in engine.nets:
        net.requires_grad_(False)
    try:
        for i in range(STEPS):
            z, log_q = q().rsample_and_log_prob((BATCH,))
            log_l = log_likelihood(engine, z, trials).clamp(min=-1e6)
            b = min(1.0, (2 * i / STEPS) ** 2)
            loss = (log_q + 0.5 * (z**2).sum(1) - b * log_l).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(q.parameters(), 5.0)
            if torch.isfinite(norm):
                optimiser.step()
            schedule.step()
    finally:
        for net in engine.nets:
            net.requires_grad_(True)
    return q

