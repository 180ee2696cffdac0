"""Reference tasks: small simulators whose posteriors are known exactly.

The four are the usual definitions of simulation-based-inference benchmarks, one file each.  All
have one vector parameter `theta` and one output `x`, and

    prior()                                  the task's prior
    observation(k), truth(k)                 ten fixed observations, k = 1 … 10, and their theta
    log_likelihood(theta, observed)          log p(observed | theta), one value a row of theta
    reference_posterior(n, observed, rng)    n independent exact draws, (n, d)

Every reference posterior is sampled exactly (closed form or rejection), not by MCMC.
"""

from inferkit.builtin.tasks.gaussian_linear import GaussianLinear, GaussianLinearConfig
from inferkit.builtin.tasks.gaussian_mixture import GaussianMixture
from inferkit.builtin.tasks.slcp import SLCP
from inferkit.builtin.tasks.two_moons import TwoMoons

__all__ = ["SLCP", "GaussianLinear", "GaussianLinearConfig", "GaussianMixture", "TwoMoons"]
