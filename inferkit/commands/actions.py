"""What each command does: a few lines over the library; heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def demo(args: Any) -> int:
    from inferkit.commands import demo

    if args.name is None:
        print(f"{demo.listing()}\n\nrun one with: inferkit demo NAME")
        return 0
    path = Path(args.path or f"runs/{args.name}")
    with demo.surroundings(args.name, path) as spec:
        finish(demo.run(spec, path, args.simulations))
    return 0


def init(args: Any) -> int:
    from inferkit.commands import scaffold

    file = scaffold.study_file(Path(args.file), args.simulator, args.force)
    print(f"wrote {file}\n  inferkit check {file}    try it\n  inferkit run {file}      run it")
    return 0


def check(args: Any) -> int:
    from inferkit.commands import study_file

    study, told = study_file.read(args.file)
    result = study.try_out(told.simulations)
    print(result)
    return 1 if result.status == "FAIL" else 0


def run(args: Any) -> int:
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


def report(args: Any) -> int:
    from inferkit.commands import study_file

    study, _ = study_file.reopen(args.run_folder)
    study.fit(args.estimator)
    file = study.report(args.output, figures=args.figures)
    print(f"report: {file}")
    if args.figures:
        print(f"files:  {file.with_name(file.stem + '_files')}")
    return 0


def compare(args: Any) -> int:
    from inferkit.commands import compare, study_file
    from inferkit.store import if_possible

    study, _ = study_file.reopen(args.run_folder)
    compared = compare.run(study, args.estimators, args.simulate)
    print(compared)
    with if_possible("the picture is", print):
        print(f"picture: {compared.picture(study.path / 'compare.png')}")
    return 130 if compared.stopped else 0


def sweep(args: Any) -> int:
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


def replay(args: Any) -> int:
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


def jobs(args: Any) -> int:
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
    asked = {"trust": args.trust} if args.command == "status" else {}
    answer = getattr(importlib.import_module(spec.commands), args.command)(args.run_folder, **asked)
    if args.command == "status":
        print("\n".join(map(str, answer)) or "no jobs at the site")
    else:
        print(f"{answer} jobs {'stopped' if args.command == 'cancel' else 'deleted'}")
    return 0


def doctor(args: Any) -> int:
    from inferkit.commands import doctor

    text, healthy = doctor.examine()
    print(text)
    return 0 if healthy else 1


def plugins_list(args: Any) -> int:
    from inferkit.commands import doctor

    print(doctor.listing(args.role))
    return 0


def plugins_show(args: Any) -> int:
    from inferkit.commands import doctor

    print(doctor.show(args.name))
    return 0


def plugins_check(args: Any) -> int:
    from inferkit.commands import doctor

    text, healthy = doctor.check(args.name)
    print(text)
    return 0 if healthy else 1


def plugins_new(args: Any) -> int:
    from inferkit.commands import scaffold

    folder = scaffold.package(args.name, args.role, Path(args.into), args.observations)
    print(f"wrote {folder}\n  pip install -e {folder}\n  pytest {folder}")
    return 0
