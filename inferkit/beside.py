"""What people do with a study beside its stages: try it, look at it, draw it, predict, hand it on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferkit import shown, tryout
from inferkit.plot import StudyPlots
from inferkit.posterior import Posterior, Predicted, Samples, predicted
from inferkit.store import Simulations, Store


class Beside:
    """Methods of `Study`; each leaves it as it is."""

    if TYPE_CHECKING:
        simulator: Any
        prior: Any
        estimator: Any
        executor: Any
        observed: Any
        path: Path
        seed: int
        trials: tuple[int, int] | None
        _posterior: Posterior | None

        @property
        def has(self) -> set[str]: ...
        @property
        def posterior(self) -> Posterior: ...

    def try_out(self, simulations: int = 1000) -> tryout.Trial:
        """What `inferkit check` tells: 20 simulations that nothing keeps, and the cost of so many."""
        return tryout.run(self, simulations)

    def _facts(self) -> list[tuple[str, Any]]:
        """What a person wants to know of a study; nothing is made or run to find out."""
        there = (self.path / "store.json").exists()
        counts = Simulations(Store.existing(self.path), 0).counts if there else {}
        stored = ", ".join(f"{n:,} {k}" for k, n in counts.items() if n)
        return [
            ("simulator", self.simulator.name if "simulator" in self.has else ""),
            ("parameters", ", ".join(self.prior.names)),
            ("estimator", self.estimator.name), ("executor", self.executor.name),
            ("path", self.path), ("seed", str(self.seed)),
            ("trials", "" if self.trials is None else " to ".join(map(str, sorted(set(self.trials))))),
            ("observed", "yes" if self.observed is not None else "not given"),
            ("simulations", stored or "none yet: study.simulate(1000)" * ("simulator" in self.has)),
            ("fitted", self._posterior.estimator.name if self._posterior else "not yet: study.fit()"),
        ]

    def __repr__(self) -> str:
        return "\n".join(["Study", *(f"  {k:<12} {v}" for k, v in self._facts() if v)])

    def _repr_html_(self) -> str:
        return shown.titled("Study", shown.facts(self._facts()))

    @property
    def plot(self) -> StudyPlots:
        """Pictures on axes of one's own: study.plot.pairs(), .traces(), .ranks(), …"""
        return StudyPlots(self)

    def prior_predictive(self, n: int = 200) -> Predicted:
        """n simulations of the prior: the first stored ones, where there are so many.

        Otherwise n draws are simulated as a round of their own, which no estimator learns from:
        looking at the prior adds nothing to the training data, `simulate` does.
        """
        return predicted.of_prior(self, n)

    def to_arviz(self, n: int = 1000, *, predict: int = 200) -> Any:
        """The study's observation for ArviZ: posterior (true chains where there are any), prior,
        sample_stats, posterior_predictive and prior_predictive (simulations), observed_data."""
        samples = self.posterior.sample(n, self.observed, seed=self.seed)
        if not isinstance(samples, Samples):
            return samples.to_arviz()
        return samples.to_arviz(predicted=self.posterior.predict(predict, self.observed),
                                prior_predicted=self.prior_predictive(predict),
                                observed=self.observed)
