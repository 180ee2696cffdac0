"""Estimators that follow gradients: whatever has a differentiable log-density.

    prior + likelihood -> target (log-density over z) -> nuts | hmc | laplace | svi | gradient
"""

__version__ = "0.1.0"
