"""The diagnose stage: a fitted study goes in, verdicts with evidence and remedy come out.

`context` is what they look at; `verdicts` holds what a verdict is and runs the registered diagnostics;
`common` and `uniform` are what they share.
"""

from inferkit.diagnose.context import Calibration, Context, Predictive
from inferkit.diagnose.verdicts import CALIBRATING, ORDER, Checks, Status, Verdict, run
