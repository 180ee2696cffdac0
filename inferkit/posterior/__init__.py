"""The posterior stage: an engine and an observation go in, named draws with units come out."""

from inferkit.posterior.extrapolation import reach
from inferkit.posterior.importance import corrected
from inferkit.posterior.posterior import Posterior, Samples, load
from inferkit.posterior.predicted import Predicted
