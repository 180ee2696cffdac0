"""The records; neither jax nor numpyro is imported here."""

from inferkit import DemoSpec, EstimatorSpec, hookimpl

COMMON = {"consumes": ("gradient",), "amortised": False, "needs_observed": True,
          "accepts": ("features", "arrays")}
LIBRARIES = ("phan2019composable", "bradbury2018jax")


@hookimpl
def inferkit_estimators():
    yield EstimatorSpec(
        name="nuts", summary="No-U-Turn sampler on a differentiable log-density",
        target="inferkit_numpyro.mcmc:NUTS", config="inferkit_numpyro.config:NUTSConfig",
        cites=("hoffman2014nuts", *LIBRARIES, "vehtari2021rank"), **COMMON)
    yield EstimatorSpec(
        name="hmc", summary="Hamiltonian Monte Carlo of a fixed length",
        target="inferkit_numpyro.mcmc:HMC", config="inferkit_numpyro.config:HMCConfig",
        cites=("duane1987hybrid", *LIBRARIES, "vehtari2021rank"), **COMMON)
    yield EstimatorSpec(
        name="laplace", summary="a Gaussian at the posterior's mode",
        target="inferkit_numpyro.approximate:Laplace",
        config="inferkit_numpyro.config:LaplaceConfig", gives=("samples", "log_prob"),
        cites=("tierney1986accurate", *LIBRARIES), **COMMON)
    yield EstimatorSpec(
        name="svi", summary="variational inference with a guide of your choice",
        target="inferkit_numpyro.approximate:SVI", config="inferkit_numpyro.config:SVIConfig",
        cites=("kucukelbir2017automatic", *LIBRARIES), **COMMON)
    yield EstimatorSpec(
        name="gradient", summary="the best parameters by gradient descent (optax); no uncertainty",
        target="inferkit_numpyro.approximate:Gradient",
        config="inferkit_numpyro.config:GradientConfig", cites=LIBRARIES[1:], **COMMON)


@hookimpl
def inferkit_demos():
    yield DemoSpec(
        name="nuts", target="inferkit_numpyro:demo.toml", seconds=40,
        summary="a decaying trace by the No-U-Turn sampler, through its gradient")
