"""The estimate stage: stored simulations and the observation go in, a posterior's engine comes out.

A `Problem` is all that an estimator sees; `check_pairing` refuses what cannot work, before anything
runs.
"""

from inferkit.estimate.absent import NO_SIMULATOR, NoPrior
from inferkit.estimate.pairing import check_pairing
from inferkit.estimate.plan import Plan
from inferkit.estimate.problem import Problem, Training, digest, fit_tag
