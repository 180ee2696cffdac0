"""The features stage: raw outputs go in, what an estimator sees comes out, for x as for observed.

`view` applies a study's choice, `compose` puts features together, `base` is what they are made with.
"""

from inferkit.features.observe import check_observed, observe
from inferkit.features.scaling import bent
from inferkit.features.view import (
    FEATURES,
    RAW,
    OverTrials,
    View,
    choose,
    columns,
    flatten,
    outputs_of,
    without_axis,
)
