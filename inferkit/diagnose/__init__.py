"""The diagnose stage: a fitted study goes in, verdicts with evidence and remedy come out.

`verdicts` holds what a verdict is and runs the registered diagnostics; `common` and `uniform` are
what they share.
"""

from inferkit.diagnose.verdicts import (
    CALIBRATING,
    ORDER,
    Calibration,
    Checks,
    Context,
    Predictive,
    Status,
    Verdict,
    run,
)
