"""The features stage: raw outputs go in, what an estimator sees comes out, for x as for observed.

`chosen` reads a study's choice, `view` applies it, `compose` puts features together, `base` is what
they are made with.
"""

from inferkit.features.chosen import RAW, OverTrials, choose
from inferkit.features.observe import check_observed, observe
from inferkit.features.scaling import bent
from inferkit.features.view import (
    FEATURES,
    View,
    columns,
    flatten,
    outputs_of,
    without_axis,
)
