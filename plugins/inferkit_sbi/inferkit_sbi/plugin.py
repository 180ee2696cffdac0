"""The records; neither torch nor sbi is imported here."""

from inferkit import DemoSpec, EstimatorSpec, hookimpl

ARRAYS = ("features", "arrays")
SBI = "tejero2020sbi"


@hookimpl
def inferkit_estimators():
    yield EstimatorSpec(
        name="npe", summary="neural posterior estimation; amortised, or in rounds for one observation",
        target="inferkit_sbi.npe:NPE", config="inferkit_sbi.config:NPEConfig",
        cites=(SBI, "papamakarios2016fast", "greenberg2019automatic"),
        aliases=("snpe", "tsnpe"), gives=("samples", "log_prob"), accepts=ARRAYS, rounds=True,
        sets=True,
        improve='ensemble = 3, a wider hidden = 100 and embedding_hidden = 128, or density = "nsf"',
    )
    yield EstimatorSpec(
        name="fmpe", summary="flow-matching posterior estimation",
        target="inferkit_sbi.vector:FMPE", config="inferkit_sbi.config:FMPEConfig",
        cites=(SBI, "wildberger2023flow"),
        gives=("samples", "log_prob"), accepts=ARRAYS, rounds=True, sets=True,
        improve="hidden = 200, patience = 30, ensemble = 3",
    )
    yield EstimatorSpec(
        name="npse", summary="neural posterior score estimation (diffusion)",
        target="inferkit_sbi.vector:NPSE", config="inferkit_sbi.config:NPSEConfig",
        cites=(SBI, "sharrock2024sequential"),
        gives=("samples", "log_prob"), accepts=ARRAYS, rounds=True, sets=True,
        improve="hidden = 200, patience = 30, ensemble = 3",
    )
    yield EstimatorSpec(
        name="nle", summary="neural likelihood estimation; combines i.i.d. trials",
        target="inferkit_sbi.nle:NLE", config="inferkit_sbi.config:NLEConfig", aliases=("snle",),
        cites=(SBI, "papamakarios2019sequential"),
        gives=("samples", "log_prob", "log_likelihood"), accepts=ARRAYS, rounds=True, iid=True,
        improve='ensemble = 3, hidden = 100, patience = 60, or density = "nsf"',
    )
    yield EstimatorSpec(
        name="nre", summary="neural ratio estimation; combines i.i.d. trials",
        target="inferkit_sbi.nre:NRE", config="inferkit_sbi.config:NREConfig", aliases=("snre",),
        cites=(SBI, "durkan2020contrastive"),
        gives=("samples", "log_prob"), accepts=ARRAYS, rounds=True, iid=True,
        improve="ensemble = 3, hidden = 100, contrasts = 50, patience = 60",
    )


@hookimpl
def inferkit_demos():
    yield DemoSpec(
        name="npe", target="inferkit_sbi:demo.toml", seconds=60,
        summary="a neuron's four parameters by a neural posterior, trained on 3,000 simulations")
