"""The posterior stage: an engine and an observation go in, named draws with units come out."""

from inferkit.posterior.conditional import Conditional
from inferkit.posterior.extrapolation import reach
from inferkit.posterior.importance import corrected
from inferkit.posterior.posterior import Posterior, load
from inferkit.posterior.predicted import Predicted
from inferkit.posterior.samples import Samples
