"""What is believed about the parameters before any data.

base.py         what a family is, Univariate record.py      a family as a checked record
families.py     lines and half-lines         bounded.py     intervals
others.py       Choice, MultivariateNormal, Scipy
bijections.py   supports to the real line    truncated.py   normal masses, no cancellation
expressions.py  arithmetic over parameters   dependent.py   priors that depend on parameters
graph.py        parents before children      layout.py      dicts to matrices and back
constraints.py  conditions, acceptance       joint.py       Prior, which joins them all
summary.py      tables, conditioning         config.py      study files, families of plugins
space.py        to z ~ N(0, I) and back, for learned densities
"""

from inferkit.prior.base import Family, Univariate
from inferkit.prior.bounded import Beta, LogUniform, TruncatedNormal, Uniform
from inferkit.prior.constraints import Acceptance, Constraint
from inferkit.prior.dependent import Given
from inferkit.prior.families import (
    Exponential,
    Gamma,
    HalfNormal,
    InverseGamma,
    LogNormal,
    Normal,
    StudentT,
)
from inferkit.prior.joint import Prior
from inferkit.prior.others import Choice, MultivariateNormal, Scipy
from inferkit.prior.record import Fault, family

__all__ = [
    "Acceptance",
    "Beta",
    "Choice",
    "Constraint",
    "Exponential",
    "Family",
    "Fault",
    "Gamma",
    "Given",
    "HalfNormal",
    "InverseGamma",
    "LogNormal",
    "LogUniform",
    "MultivariateNormal",
    "Normal",
    "Prior",
    "Scipy",
    "StudentT",
    "TruncatedNormal",
    "Uniform",
    "Univariate",
    "family",
]
