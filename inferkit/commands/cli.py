"""The command line: `inferkit demo | init | check | run | resume | report | compare | sweep | replay |
status | cancel | clean | doctor | plugins`.  Each command is a few lines over the library; heavy
imports happen inside.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

ACCEPT = "take what another version of your code simulated for this one's (it is recorded)"


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.disable_plugin:  # in the environment, so that worker processes obey it as well
        held = os.environ.get("INFERKIT_DISABLE", "")
        os.environ["INFERKIT_DISABLE"] = ",".join(filter(None, [held, *args.disable_plugin]))
    from inferkit.errors import InferkitError

    try:
        return int(args.run(args) or 0)
    except InferkitError as error:
        if args.traceback:
            raise
        print(f"inferkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninferkit: stopped; what finished is stored. The same command goes on from there.",
              file=sys.stderr)
        return 130
    except BrokenPipeError:  # `inferkit plugins list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="inferkit", description="Bayesian inference on simulators: any simulator, any "
        "estimator, any executor.", epilog="A first look: inferkit demo lif")
    top.add_argument("--version", action="version", version=f"inferkit {_version()}")
    top.add_argument("--disable-plugin", action="append", metavar="NAME", default=[],
                     help="leave a plugin out (may be repeated)")
    top.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.set_defaults(run=run)
        return made

    demo = command("demo", _demo, "list the demos, or run one, from nothing to a report")
    demo.add_argument("name", nargs="?", help="which one (lif: a neuron's parameters)")
    demo.add_argument("--path", help="the run's folder (default: runs/NAME)")
    demo.add_argument("-n", "--simulations", type=int, help="how many, in place of the file's")

    init = command("init", _init, "write a study file to start from")
    init.add_argument("file", nargs="?", default="study.toml")
    init.add_argument("--simulator", default="lif", help="which simulator it is for")
    init.add_argument("--force", action="store_true", help="overwrite an existing file")

    check = command("check", _check, "try 20 simulations: cost, failures, seeds")
    check.add_argument("file", help="a study file")

    for name, help in (("run", "run a study file: simulate, fit, check, report"),
                       ("resume", "go on with a run where it stopped")):
        go = command(name, _run, help)
        go.add_argument("file", help="a study file" if name == "run" else "a run folder")
        go.add_argument("-n", "--simulations", type=int, help="how many, in place of the file's")
        go.add_argument("--executor", help="in place of the file's")
        go.add_argument("--estimator", help="in place of the file's")
        go.add_argument("--only", choices=["simulate", "fit"], help="stop after this stage")
        go.add_argument("--retry-failed", action="store_true", help="run failed simulations again")
        go.add_argument("--accept-code", action="store_true", help=ACCEPT)

    report = command("report", _report, "write a run's report again")
    report.add_argument("run_folder", metavar="RUN")
    report.add_argument("--estimator", help="in place of the file's")
    report.add_argument("-o", "--output", help="where to (default: RUN/report.html)")
    report.add_argument("--figures", action="store_true",
                        help="pictures (PDF, PNG) and tables (CSV, LaTeX) as files beside it")

    compare = command("compare", _compare, "several estimators on the same stored simulations")
    compare.add_argument("run_folder", metavar="RUN")
    compare.add_argument("estimators", nargs="+", metavar="ESTIMATOR")
    compare.add_argument("--simulate", type=int, default=0, metavar="N", help="so many new simulations "
                         "may run, for estimators that need their own (default: none)")

    sweep = command("sweep", _sweep, "a simulator's outcomes over a grid of its parameters")
    sweep.add_argument("file", help="a sweep file: [simulator], [grid], …")
    sweep.add_argument("--outcome", help="which one to draw (default: the first)")
    sweep.add_argument("--accept-code", action="store_true", help=ACCEPT)

    replay = command("replay", _replay, "run one stored simulation again and compare")
    replay.add_argument("row", metavar="RUN:INDEX", help="such as runs/lif:137 (or RUN:ROUND/INDEX)")

    for name, help in (("status", "where a run stands: rows, fits, jobs at a site"),
                       ("cancel", "stop a run's jobs at a site"),
                       ("clean", "delete a run's files at a site")):
        at = command(name, _jobs, help)
        at.add_argument("run_folder", metavar="RUN")

    command("doctor", _doctor, "what is installed, what is broken, and why")

    plugins = command("plugins", lambda a: 0, "list, show, check or begin plugins")
    kinds = plugins.add_subparsers(required=True, metavar="ACTION")
    listing = kinds.add_parser("list", help="every simulator, estimator, executor, …")
    listing.add_argument("role", nargs="?", help="only this role")
    listing.set_defaults(run=_plugins_list)
    show = kinds.add_parser("show", help="one plugin's settings and abilities")
    show.add_argument("name")
    show.set_defaults(run=_plugins_show)
    verify = kinds.add_parser("check", help="load it and test what it promises")
    verify.add_argument("name")
    verify.set_defaults(run=_plugins_check)
    new = kinds.add_parser("new", help="write a package to start from; its tests pass")
    new.add_argument("name", help="such as my-neuron")
    new.add_argument("--role", default="simulator", choices=["simulator", "estimator", "feature"])
    new.add_argument("--observations", action="store_true",
                     help="an estimator that holds its own model: no simulator, no prior")
    new.add_argument("--into", default=".", help="the folder to write it into")
    new.set_defaults(run=_plugins_new)
    return top


def _demo(args: Any) -> int:
    from inferkit.commands import demo

    if args.name is None:
        print(f"{demo.listing()}\n\nrun one with: inferkit demo NAME")
        return 0
    path = Path(args.path or f"runs/{args.name}")
    with demo.surroundings(args.name, path) as spec:
        finish(demo.run(spec, path, args.simulations))
    return 0


def _init(args: Any) -> int:
    from inferkit.commands import scaffold

    file = scaffold.study_file(Path(args.file), args.simulator, args.force)
    print(f"wrote {file}\n  inferkit check {file}    try it\n  inferkit run {file}      run it")
    return 0


def _check(args: Any) -> int:
    from inferkit.commands import study_file

    study, told = study_file.read(args.file)
    result = study.try_out(told.simulations)
    print(result)
    return 1 if result.status == "FAIL" else 0


def _run(args: Any) -> int:
    from inferkit.commands import study_file
    from inferkit.plugins import chosen
    from inferkit.store import if_possible

    source = Path(args.file)
    study, told = (study_file.read if args.command == "run" else study_file.reopen)(source)
    if args.executor:
        study.executor = chosen("executor", args.executor)
    if args.estimator:
        study.estimator = chosen("estimator", args.estimator)
    study.accept_code = args.accept_code
    n = told.simulations if args.simulations is None else args.simulations
    if "simulator" in study.has:
        study.check_names()
    if args.only != "simulate":  # before hours of simulating, not after
        study.check_pairing(study.estimator, study.observed)
    _ = study.store  # another study's folder is refused before its study file is replaced
    if args.command == "run":
        with if_possible("the study's file is", study.reporter.say):
            study_file.keep_copy(study, source, n)
    if "simulator" in study.has or args.only == "simulate":
        study.simulate(n, retry_failed=args.retry_failed,
                       verify_up_to=2e9 if args.command == "run" else float("inf"))
    if args.only == "simulate":
        return 0
    study.fit()
    if args.only == "fit":
        return 0
    return finish(study)


def finish(study: Any) -> int:
    """Check and report, and say where the report is and what it says."""
    if study.observed is not None:
        many = "samples" in study.posterior.gives
        print(study.posterior.sample(2000 if many else 100, study.observed))
    checks = study.check()
    print(checks)
    print(f"report: {study.report()}")
    return 1 if checks.status == "FAIL" else 0


def _report(args: Any) -> int:
    from inferkit.commands import study_file

    study, _ = study_file.reopen(args.run_folder)
    study.fit(args.estimator)
    file = study.report(args.output, figures=args.figures)
    print(f"report: {file}")
    if args.figures:
        print(f"files:  {file.with_name(file.stem + '_files')}")
    return 0


def _compare(args: Any) -> int:
    from inferkit.commands import compare, study_file
    from inferkit.store import if_possible

    study, _ = study_file.reopen(args.run_folder)
    compared = compare.run(study, args.estimators, args.simulate)
    print(compared)
    with if_possible("the picture is", print):
        print(f"picture: {compared.picture(study.path / 'compare.png')}")
    return 130 if compared.stopped else 0


def _sweep(args: Any) -> int:
    from inferkit.commands import grid

    found = grid.from_file(args.file, args.accept_code)
    for name in found.columns:
        values = found.values(name).ravel()
        known = values[values == values]  # without NaN, where every repeat failed
        print(f"{name}: {known.min():.4g} to {known.max():.4g} over {len(values):,} points")
    if found.failed:
        print(f"{found.failed:,} simulations failed")
    print(f"table:   {found.path / grid.TABLE}")
    if len(found.axes) <= 3:
        print(f"picture: {found.picture(args.outcome)}")
    return 0


def _replay(args: Any) -> int:
    from inferkit.commands import replay, study_file
    from inferkit.errors import ConfigError

    run, _, row = args.row.rpartition(":")
    round, _, index = row.rpartition("/")
    if not run or not index.isdigit() or (round and not round.isdigit()):
        raise ConfigError(f"{args.row!r} names no row", allowed="RUN:INDEX or RUN:ROUND/INDEX",
                          fix="inferkit replay runs/lif:137")
    study, _ = study_file.reopen(run)
    print(result := replay.run(study, int(round or 0), int(index)))
    return 0 if result.same else 1


def _jobs(args: Any) -> int:
    import importlib

    from inferkit.commands import study_file
    from inferkit.errors import ExecutorError
    from inferkit.store import Simulations, Store

    run = Path(args.run_folder)
    told = study_file.look(run)
    spec: Any = study_file.read_part("executor", told.executor).spec
    if args.command == "status":
        store = Store.existing(run)
        for round in store.rounds():
            counts = {k: v for k, v in Simulations(store, round).counts.items() if v}
            stored = sum(counts.values())
            wanted = f" of {told.simulations:,}" if round == 0 and stored <= told.simulations else ""
            print(f"round {round}: {stored:,}{wanted} rows, "
                  + ", ".join(f"{v:,} {k}" for k, v in counts.items()))
        for fit in sorted((run / "fits").glob("*/posterior.json")):
            print(f"fit: {fit.parent.name}")
    if not spec.commands:
        if args.command != "status":
            raise ExecutorError(f"executor {spec.name!r} leaves no jobs behind",
                                allowed="runs whose executor is detached (unicore)")
        return 0
    answer = getattr(importlib.import_module(spec.commands), args.command)(args.run_folder)
    if args.command == "status":
        print("\n".join(map(str, answer)) or "no jobs at the site")
    else:
        print(f"{answer} jobs {'stopped' if args.command == 'cancel' else 'deleted'}")
    return 0


def _doctor(args: Any) -> int:
    from inferkit.commands import doctor

    text, healthy = doctor.examine()
    print(text)
    return 0 if healthy else 1


def _plugins_list(args: Any) -> int:
    from inferkit.commands import doctor

    print(doctor.listing(args.role))
    return 0


def _plugins_show(args: Any) -> int:
    from inferkit.commands import doctor

    print(doctor.show(args.name))
    return 0


def _plugins_check(args: Any) -> int:
    from inferkit.commands import doctor

    text, healthy = doctor.check(args.name)
    print(text)
    return 0 if healthy else 1


def _plugins_new(args: Any) -> int:
    from inferkit.commands import scaffold

    folder = scaffold.package(args.name, args.role, Path(args.into), args.observations)
    print(f"wrote {folder}\n  pip install -e {folder}\n  pytest {folder}")
    return 0


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("inferkit")
    except metadata.PackageNotFoundError:
        return "(not installed)"

