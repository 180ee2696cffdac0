"""The built-in diagnostics: can a fitted posterior be trusted, and if not, what to do.

Each class has `run(context)` and gives verdicts; the mathematics is in its module's docstring, as
pure functions of arrays that need no study.
"""

from inferkit.builtin.diagnostics.contraction import Contraction
from inferkit.builtin.diagnostics.coverage import Coverage
from inferkit.builtin.diagnostics.failures import Failures
from inferkit.builtin.diagnostics.leakage import Leakage
from inferkit.builtin.diagnostics.misspecification import Misspecification
from inferkit.builtin.diagnostics.predictive import PosteriorPredictive
from inferkit.builtin.diagnostics.recovery import Recovery
from inferkit.builtin.diagnostics.sbc import SBC
from inferkit.builtin.diagnostics.tarp import TARP
from inferkit.builtin.diagnostics.training import Training
from inferkit.builtin.diagnostics.typicality import Typicality

__all__ = [
    "SBC", "TARP", "Contraction", "Coverage", "Failures", "Leakage", "Misspecification",
    "PosteriorPredictive", "Recovery", "Training", "Typicality",
]
