"""The registry: lazy, fail-soft, collision-safe, versioned."""

import subprocess
import sys
import textwrap
import types
import warnings
from dataclasses import dataclass
from typing import Literal

import pytest

import inferkit as ik
from inferkit import plugins
from inferkit.commands import doctor
from inferkit.errors import ConfigError, PluginError
from inferkit.plugins import EstimatorSpec, SimulatorSpec, discovery, hookimpl, schema

HEAVY = ["scipy", "matplotlib", "torch", "jax", "numpyro", "brian2", "tvb", "vbjax", "sbi", "rich",
         "pyunicore", "distributed", "dask", "safetensors", "arviz"]


@pytest.mark.parametrize("command", [["--help"], ["plugins", "list"], ["doctor"]])
def test_listing_imports_no_backend(command):
    code = (f"import sys; sys.argv = ['inferkit', *{command!r}]\n"
            "from inferkit.commands.cli import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("LOADED []"), done.stdout[-300:] + done.stderr


def module(**hooks):
    made = types.ModuleType("made_up.plugin")
    for name, function in hooks.items():
        setattr(made, name, hookimpl(function))
    return made


def spec(name="thing", **options):
    return SimulatorSpec(name=name, summary="s", target="made_up:Thing", **options)


@pytest.fixture
def registry():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield plugins.Registry().load()


def test_two_plugins_with_one_name(registry):
    registry.register(module(inferkit_simulators=lambda: [spec("lif")]), "other-package")
    with pytest.raises(PluginError) as error:
        registry.get("simulator", "lif")
    assert "inferkit:lif" in str(error.value) and "other-package:lif" in str(error.value)
    assert registry.get("simulator", "other-package:lif").target == "made_up:Thing"
    assert registry.get("simulator", "inferkit:lif").package == "inferkit"


def test_a_broken_hook_is_remembered_and_harms_nobody(registry):
    def broken():
        raise RuntimeError("no licence")

    registry.register(module(inferkit_simulators=broken,
                             inferkit_estimators=lambda: [EstimatorSpec(
                                 name="fine", summary="s", target="a:b")]), "half-broken")
    assert registry.get("estimator", "fine")
    assert registry.get("simulator", "lif")
    assert "no licence" in str(registry.broken[-1])


def test_a_misspelt_hook_is_reported(registry):
    registry.register(module(inferkit_simulatorz=lambda: []), "typo")
    assert "inferkit_simulatorz" in str(registry.broken[-1])


@pytest.mark.parametrize("records", [
    [EstimatorSpec(name="e", summary="s", target="a:b")], ["lif"], [spec("a:b")],
    [SimulatorSpec(name="x", summary="s", target="no_colon")],
])
def test_wrong_records_are_reported(registry, records):
    registry.register(module(inferkit_simulators=lambda: records), "wrong")
    assert registry.broken[-1].package == "wrong"


def test_another_interface_version_is_refused_before_import(registry):
    registry.register(module(inferkit_simulators=lambda: [spec("future", api=(7, 9))]), "p")
    with pytest.raises(PluginError, match="supports the plugin interface 7 to 9"):
        registry.get("simulator", "future")


def test_unknown_and_missing_names(registry, monkeypatch):
    with pytest.raises(PluginError, match="did you mean 'lif'"):
        registry.get("simulator", "lfi")
    monkeypatch.setitem(plugins.OFFICIAL, "inferkit-absent", {"estimator": ("faraway",)})
    with pytest.raises(PluginError, match="pip install inferkit-absent$"):
        registry.get("estimator", "faraway")


@pytest.mark.parametrize(("where", "typed"), [
    (".", "pip install -c constraints.txt ./plugins/inferkit_absent"),
    ("elsewhere", "pip install inferkit-absent")])
def test_what_installs_a_plugin_is_what_can_be_typed_here(tmp_path, monkeypatch, where, typed):
    (tmp_path / "plugins/inferkit_absent").mkdir(parents=True)
    (tmp_path / "plugins/inferkit_absent/pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / where)
    assert discovery.install("inferkit-absent") == typed
    monkeypatch.setitem(plugins.OFFICIAL, "inferkit-absent", {"estimator": ("faraway",)})
    assert f"inferkit-absent is not installed: {typed}\n" in f"{doctor.examine()[0]}\n"


def install(tmp_path, name, code):
    """A package with an entry point, on a path of its own."""
    folder = tmp_path / "site"
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[inferkit]\n{name} = {name}_plugin\n")
    (folder / f"{name}_plugin.py").write_text(textwrap.dedent(code))
    return folder


def inferkit(*args, path=None, env=None):
    import os

    return subprocess.run([sys.executable, "-m", "inferkit", *args], capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(path or ""), **(env or {})})


def test_a_plugin_that_fails_to_import_is_a_warning_and_the_doctor_says_why(tmp_path):
    site = install(tmp_path, "sick", "import a_backend_that_is_not_there\n")
    listed = inferkit("plugins", "list", path=site)
    assert listed.returncode == 0 and "lif" in listed.stdout
    seen = inferkit("doctor", path=site)
    assert seen.returncode == 1
    assert "BROKEN" in seen.stdout and "a_backend_that_is_not_there" in seen.stdout
    off = inferkit("--disable-plugin", "sick", "doctor", path=site)
    assert off.returncode == 0 and "sick (disabled)" in off.stdout
    assert inferkit("doctor", path=site, env={"INFERKIT_DISABLE": "sick"}).returncode == 0


def test_a_plugin_that_exits_or_hangs_on_names_does_not_stop_others(tmp_path):
    site = install(tmp_path, "leaver", "import sys; sys.exit(3)\n")
    assert inferkit("plugins", "list", path=site).returncode == 0


def test_disabled_in_a_study_file(tmp_path):
    (tmp_path / "s.toml").write_text(
        '[simulator]\nname = "izhikevich"\n[prior]\nc = {family = "normal", loc = 0.0, scale = 1.0}\n'
        '[plugins]\ndisable = ["izhikevich"]\n')
    done = inferkit("check", str(tmp_path / "s.toml"))
    assert done.returncode == 2 and "unknown simulator 'izhikevich'" in done.stderr


def test_a_missing_target_is_an_error_with_its_cause():
    chosen = ik.Component(SimulatorSpec(name="x", summary="s", target="not_there:Thing"))
    with pytest.raises(PluginError, match="pip install not_there"):
        chosen.build()


def test_show_and_check():
    shown = doctor.show("lif")
    assert "amplitude = " in shown and "batch_invariant" in shown
    text, healthy = doctor.check("abc-smc")
    assert healthy and "loads saved posteriors" not in text.replace("ok", "")


# -- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    size: int
    rate: float = 1.0
    kind: Literal["a", "b"] = "a"
    limit: float | None = None
    names: tuple[str, ...] = ()
    pair: tuple[int, int] = (1, 2)
    flag: bool = False


def test_settings_from_plain_data():
    got = schema.build(Config, {"size": 3, "rate": 2, "names": ["x"], "limit": 1, "pair": [3, 4]}, "t")
    assert got == Config(3, 2.0, "a", 1.0, ("x",), (3, 4)) and isinstance(got.rate, float)
    assert schema.build(Config, schema.plain(got), "t") == got


@pytest.mark.parametrize(("values", "message"), [
    ({"size": 1, "rat": 2}, "did you mean 'rate'"), ({}, "lacks size"),
    ({"size": "3"}, "size is '3' .*allowed: an integer"), ({"size": 1.5}, "an integer"),
    ({"size": True}, "an integer"), ({"size": 1, "kind": "c"}, "'a' | 'b'"),
    ({"size": 1, "flag": 1}, "true or false"), ({"size": 1, "names": "x"}, "a list of a string"),
    ({"size": 1, "pair": [1]}, "a list of"), ({"size": 1, "limit": "no"}, "a number or nothing"),
])
def test_wrong_settings(values, message):
    import re

    with pytest.raises(ConfigError) as error:
        schema.build(Config, values, "test")
    assert re.search(message, str(error.value), re.DOTALL)


def test_components_check_their_settings():
    with pytest.raises(ConfigError, match="did you mean 'workers'"):
        ik.executor("local", worker=2)
    with pytest.raises(ConfigError, match="an integer or 'auto'"):
        ik.executor("local", workers="many")
    with pytest.raises(ConfigError, match="no amount of memory"):
        ik.executor("local", memory="lots")
    with pytest.raises(ConfigError, match="takes no settings"):
        ik.simulator("two_moons", size=3)


def test_observers_see_batches_and_their_faults_stop_nothing(tmp_path):
    seen = []

    def inferkit_batch_stored(path, receipt):
        seen.append((path, receipt.rows))
        if len(seen) == 2:
            raise RuntimeError("observer broke")

    made = module(inferkit_batch_stored=inferkit_batch_stored)
    plugins.registry().register(made, "observer")
    try:
        study = ik.Study(lambda theta, rng: theta["a"], ik.Prior({"a": ik.Uniform(0, 1)}), quiet=True,
                         path=tmp_path / "run", executor=ik.executor("local", workers=0))
        with pytest.warns(UserWarning, match="observer broke"):
            study.simulate(300)
    finally:
        plugins.registry().manager.unregister(made)
    assert sum(rows for _, rows in seen) == 300 and seen[0][0] == str(tmp_path / "run")


def test_a_diagnostic_and_a_family_come_through_hooks(tmp_path):
    site = install(tmp_path, "extra", """
        from inferkit import DiagnosticSpec, EstimatorSpec, ExecutorSpec, PriorSpec, hookimpl

        @hookimpl
        def inferkit_diagnostics():
            yield DiagnosticSpec(name="always", summary="s", target="extra_plugin:Always")

        @hookimpl
        def inferkit_priors():
            yield PriorSpec(name="flat", summary="s", target="inferkit.prior:Uniform")

        @hookimpl
        def inferkit_estimators():
            yield EstimatorSpec(name="guess", summary="s", target="extra_plugin:Always")

        @hookimpl
        def inferkit_executors():
            yield ExecutorSpec(name="elsewhere", summary="s",
                               target="inferkit.simulate.local:LocalExecutor")

        class Always:
            def run(self, context):
                from inferkit import Verdict
                yield Verdict("always", "PASS", "it always does")
    """)
    listed = inferkit("plugins", "list", path=site).stdout
    assert all(name in listed for name in ("always", "flat", "elsewhere", "guess"))
    assert "ok" in inferkit("plugins", "check", "always", path=site).stdout
