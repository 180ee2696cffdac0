"""The built-in plugin's records: what a bare install can do."""

from __future__ import annotations

from inferkit.plugins import (
    DemoSpec,
    DiagnosticSpec,
    EstimatorSpec,
    ExecutorSpec,
    FeatureSpec,
    PriorSpec,
    ReaderSpec,
    SimulatorSpec,
    hookimpl,
)

TASKS = "inferkit.builtin.tasks"
FEATURES = "inferkit.builtin.features"
DIAGNOSTICS = "inferkit.builtin.diagnostics"
STATES = "inferkit.builtin.state_space"


@hookimpl
def inferkit_simulators():
    yield SimulatorSpec(
        name="lif", summary="leaky integrate-and-fire neuron driven by a current",
        target="inferkit.builtin.lif:LIF", config="inferkit.builtin.lif:LIFConfig",
        batch_invariant=True, cites=("gerstner2014neuronal",),
    )
    yield SimulatorSpec(
        name="gaussian_linear", summary="task: conjugate Gaussian, posterior in closed form",
        target=f"{TASKS}:GaussianLinear", config=f"{TASKS}:GaussianLinearConfig",
        batch_invariant=True, cites=("lueckmann2021benchmarking",),
    )
    yield SimulatorSpec(
        name="state_space", summary="linear-Gaussian state space, a trial a row",
        target=f"{STATES}:LinearGaussian", config=f"{STATES}:LinearGaussianConfig",
        batch_invariant=True,
    )
    for name, attribute, summary, cite in (
        ("gaussian_mixture", "GaussianMixture", "a mean seen through a broad and a narrow Gaussian",
         "sisson2007sequential"),
        ("two_moons", "TwoMoons", "a posterior of two crescents", "greenberg2019automatic"),
        ("slcp", "SLCP", "simple likelihood, complex posterior with four modes",
         "papamakarios2019sequential"),
    ):
        yield SimulatorSpec(name=name, summary=f"task: {summary}", target=f"{TASKS}:{attribute}",
                            batch_invariant=True, cites=(cite, "lueckmann2021benchmarking"))


@hookimpl
def inferkit_estimators():
    yield EstimatorSpec(
        name="abc-rejection", summary="the nearest simulations, regression-adjusted; amortised",
        target="inferkit.builtin.abc.rejection:ABCRejection",
        config="inferkit.builtin.abc.rejection:RejectionConfig",
        cites=("beaumont2002approximate",),
        improve="accept fewer, accept = 0.002, of more simulations; or npe on the same ones",
    )
    yield EstimatorSpec(
        name="abc-smc", summary="sequential ABC with adaptive distance, for one observation",
        target="inferkit.builtin.abc.smc:ABCSMC", config="inferkit.builtin.abc.smc:SMCConfig",
        amortised=False, rounds=True, needs_observed=True,
        cites=("beaumont2009adaptive", "prangle2017adapting", "beaumont2002approximate"),
        improve="population = 2000, more generations, a lower min_acceptance",
    )
    yield EstimatorSpec(
        name="kalman", summary="exact smoother of a linear-Gaussian state space, from data alone",
        target=f"{STATES}:Kalman", config=f"{STATES}:KalmanConfig",
        consumes=("observations",), gives=("arrays",), accepts=("arrays", "ragged"),
        cites=("kalman1960new", "rauch1965maximum"),
    )


@hookimpl
def inferkit_readers():
    for name, suffixes, summary in (
        ("npz", (".npz",), "numpy arrays by name"),
        ("npy", (".npy",), "one numpy array"),
        ("csv", (".csv", ".tsv"), "columns by name, or one array where there are no names"),
        ("mat", (".mat",), "MATLAB variables by name; a cell array is a list of trials"),
        ("netcdf", (".nc",), "an xarray dataset"),
    ):
        yield ReaderSpec(name=name, summary=summary, suffixes=suffixes,
                         target=f"inferkit.builtin.readers:{name}")


@hookimpl
def inferkit_demos():
    yield DemoSpec(name="lif", summary="a neuron's four parameters from its noisy voltage",
                   target="inferkit.builtin.demos:lif.toml", seconds=25)
    yield DemoSpec(name="kalman", summary="hidden states from data alone, without a simulator",
                   target="inferkit.builtin.demos:kalman.toml", seconds=5)


@hookimpl
def inferkit_executors():
    yield ExecutorSpec(
        name="local", summary="worker processes on this machine (or none)",
        target="inferkit.simulate.local:LocalExecutor", config="inferkit.simulate.local:LocalConfig",
    )


FEATURE_CITES = {"psd": ("welch1967use",), "fcd": ("hansen2015functional",)}


@hookimpl
def inferkit_features():
    for name, module, attribute, summary, extra in (
        ("stats", "traces", "Stats", "moments, order statistics, slope and rest of a trace", ""),
        ("autocorrelation", "traces", "Autocorrelation", "autocorrelation at given lags", ""),
        ("psd", "spectral", "PSD", "band powers by Welch's method", ""),
        ("spike_count", "spiking", "SpikeCount", "spike counts or rates, in bins if wanted", ""),
        ("isi", "spiking", "ISI", "statistics of inter-spike intervals", ""),
        ("spike_times", "spiking", "SpikeTimes", "first spike times, latency, last spike", ""),
        ("fc", "connectivity", "FC", "functional connectivity between nodes", ""),
        ("fcd", "connectivity", "FCD", "dynamic functional connectivity", ""),
        ("trial_stats", "trials", "TrialStats", "mean, sd and quantiles of outputs over trials", ""),
        ("efel", "electrophysiology", "Efel", "features of the eFEL library", "efel"),
    ):
        yield FeatureSpec(name=name, summary=summary, extra=extra,
                          target=f"{FEATURES}.{module}:{attribute}",
                          config=f"{FEATURES}.{module}:{attribute}Config",
                          cites=FEATURE_CITES.get(name, ()))


@hookimpl
def inferkit_priors():
    for name, attribute, summary in (
        ("uniform", "Uniform", "flat between two bounds"),
        ("log_uniform", "LogUniform", "flat in the logarithm between two bounds"),
        ("normal", "Normal", "mean and standard deviation"),
        ("truncated_normal", "TruncatedNormal", "a normal between two bounds"),
        ("log_normal", "LogNormal", "median, and sd of the logarithm"),
        ("half_normal", "HalfNormal", "the upper half of a normal"),
        ("gamma", "Gamma", "concentration and scale"),
        ("inverse_gamma", "InverseGamma", "concentration and scale"),
        ("beta", "Beta", "on the unit interval"),
        ("exponential", "Exponential", "by its scale, the mean"),
        ("student_t", "StudentT", "heavy tails: df, loc, scale"),
        ("choice", "Choice", "one of some numbers"),
        ("multivariate_normal", "MultivariateNormal", "a vector by mean and covariance"),
        ("scipy", "Scipy", "any frozen distribution of scipy.stats"),
    ):
        yield PriorSpec(name=name, summary=summary, target=f"inferkit.prior:{attribute}")


BOTH = ("simulator", "parameters")
DIAGNOSTIC_CITES = {
    "sbc": ("talts2018validating", "sailynoja2022graphical", "modrak2022simulation"),
    "coverage": ("hermans2022trust",),
    "tarp": ("lemos2023sampling",),
    "contraction": ("schad2021toward",),
    "predictive": ("gelman1996posterior",),
    "typicality": ("schmitt2021detecting",),
}


@hookimpl
def inferkit_diagnostics():
    for name, attribute, summary, needs in (
        ("sbc", "sbc:SBC", "simulation-based calibration: ranks of the truth", (*BOTH, "amortised")),
        ("coverage", "coverage:Coverage", "credible intervals hold the truth", (*BOTH, "amortised")),
        ("tarp", "tarp:TARP", "joint coverage by distances to random points", (*BOTH, "amortised")),
        ("contraction", "contraction:Contraction", "what the data say about what", ("parameters",)),
        ("predictive", "predictive:PosteriorPredictive", "the posterior's simulations look like "
         "the observation", (*BOTH, "observed")),
        ("misspecification", "misspecification:Misspecification", "the observation is typical of "
         "the model", ("simulator", "observed")),
        ("typicality", "typicality:Typicality", "the observation is typical of what the network saw",
         (*BOTH, "observed")),
        ("failures", "failures:Failures", "failed simulations, and where", BOTH),
        ("leakage", "leakage:Leakage", "draws outside the prior", ("parameters",)),
        ("training", "training:Training", "whether the fit had converged", ()),
        ("recovery", "recovery:Recovery", "the known truth lies in the posterior",
         ("parameters", "truth")),
        ("budget", "budget:Budget", "what more simulations would bring", (*BOTH, "densities")),
    ):
        yield DiagnosticSpec(name=name, summary=summary, needs=needs,
                             cites=DIAGNOSTIC_CITES.get(name, ()),
                             target=f"{DIAGNOSTICS}.{attribute}")
    yield DiagnosticSpec(name="innovations", summary="one-step predictions err as the model says",
                         target=f"{STATES}:Innovations", estimators=("kalman",))
