"""One table of families: the record, scipy's distribution of the same law, points to look at."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats as st

from inferkit import prior as ik


@dataclass(frozen=True)
class Case:
    record: Any
    reference: Any
    tail: tuple[float, ...] = ()  # points far out, where digits are lost first
    cdf_rtol: float = 1e-10  # wider where scipy, not inferkit, has lost digits


CASES = {
    "uniform": Case(ik.Uniform(0.1, 1.0), st.uniform(0.1, 0.9)),
    "log_uniform": Case(ik.LogUniform(1e-6, 1e3), st.loguniform(1e-6, 1e3), (1.1e-6, 999.99)),
    "normal": Case(ik.Normal(-5.0, 0.3), st.norm(-5.0, 0.3), (-16.0, 5.0)),
    "truncated_normal": Case(
        ik.TruncatedNormal(0.5, 2.0, low=-1.0, high=3.0),
        st.truncnorm(-0.75, 1.25, 0.5, 2.0),
        cdf_rtol=1e-9,
    ),
    "truncated_tail": Case(
        ik.TruncatedNormal(0.0, 1.0, low=9.0),
        st.truncnorm(9.0, np.inf),
        (9.0001, 12.0),
        cdf_rtol=1e-8,
    ),
    "log_normal": Case(ik.LogNormal(2.0, 0.7), st.lognorm(0.7, scale=2.0), (1e-6, 1e6)),
    "half_normal": Case(ik.HalfNormal(1.5), st.halfnorm(0, 1.5), (1e-12, 15.0)),
    "gamma": Case(ik.Gamma(2.5, 0.4), st.gamma(2.5, scale=0.4), (1e-8, 40.0)),
    "gamma_small": Case(ik.Gamma(0.3, 2.0), st.gamma(0.3, scale=2.0), (1e-30, 60.0)),
    "inverse_gamma": Case(ik.InverseGamma(3.0, 2.0), st.invgamma(3.0, scale=2.0), (0.01, 1e6)),
    "beta": Case(ik.Beta(0.8, 3.0), st.beta(0.8, 3.0), (1e-12, 0.999999)),
    "exponential": Case(ik.Exponential(0.2), st.expon(scale=0.2), (1e-15, 20.0)),
    "student_t": Case(ik.StudentT(3.0, 1.0, 2.0), st.t(3.0, 1.0, 2.0), (-1e8, 1e8)),
    "student_t_wide": Case(ik.StudentT(0.7), st.t(0.7), (-1e12, 1e12)),
    "choice": Case(
        ik.Choice([5, 1, 2], [0.5, 0.2, 0.3]),
        st.rv_discrete(values=([1, 2, 5], [0.2, 0.3, 0.5]))(),
    ),
    "scipy": Case(ik.Scipy(st.weibull_min(2.0, scale=3.0)), st.weibull_min(2.0, scale=3.0)),
    "scipy_bounded": Case(ik.Scipy(st.triang(0.3, 1.0, 4.0)), st.triang(0.3, 1.0, 4.0)),
    "scipy_discrete": Case(ik.Scipy(st.poisson(3.0)), st.poisson(3.0)),
}
CONTINUOUS = {k: v for k, v in CASES.items() if not v.record.discrete}
DISCRETE = {k: v for k, v in CASES.items() if v.record.discrete}


def points(case: Case) -> np.ndarray:
    """Quantiles from the middle to 1e-6 on either side, and the case's own."""
    q = np.concatenate([[1e-6, 1e-3], np.linspace(0.02, 0.98, 25), [1 - 1e-3, 1 - 1e-6]])
    return np.unique(np.concatenate([case.reference.ppf(q), case.tail]))
