"""The command line: `inferkit demo | init | check | run | resume | report | compare | sweep | replay |
status | cancel | clean | doctor | plugins`.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from inferkit.commands import actions

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

    demo = command("demo", actions.demo, "list the demos, or run one, from nothing to a report")
    demo.add_argument("name", nargs="?", help="which one (lif: a neuron's parameters)")
    demo.add_argument("--path", help="the run's folder (default: runs/NAME)")
    demo.add_argument("-n", "--simulations", type=int, help="how many, in place of the file's")

    init = command("init", actions.init, "write a study file to start from")
    init.add_argument("file", nargs="?", default="study.toml")
    init.add_argument("--simulator", default="lif", help="which simulator it is for")
    init.add_argument("--force", action="store_true", help="overwrite an existing file")

    check = command("check", actions.check, "try 20 simulations: cost, failures, seeds")
    check.add_argument("file", help="a study file")

    for name, help in (("run", "run a study file: simulate, fit, check, report"),
                       ("resume", "go on with a run where it stopped")):
        go = command(name, actions.run, help)
        go.add_argument("file", help="a study file" if name == "run" else "a run folder")
        go.add_argument("-n", "--simulations", type=int, help="how many, in place of the file's")
        go.add_argument("--executor", help="in place of the file's")
        go.add_argument("--estimator", help="in place of the file's")
        go.add_argument("--only", choices=["simulate", "fit"], help="stop after this stage")
        go.add_argument("--retry-failed", action="store_true", help="run failed simulations again")
        go.add_argument("--accept-code", action="store_true", help=ACCEPT)

    report = command("report", actions.report, "write a run's report again")
    report.add_argument("run_folder", metavar="RUN")
    report.add_argument("--estimator", help="in place of the file's")
    report.add_argument("-o", "--output", help="where to (default: RUN/report.html)")
    report.add_argument("--figures", action="store_true",
                        help="pictures (PDF, PNG) and tables (CSV, LaTeX) as files beside it")

    compare = command("compare", actions.compare, "several estimators on the same stored simulations")
    compare.add_argument("run_folder", metavar="RUN")
    compare.add_argument("estimators", nargs="+", metavar="ESTIMATOR")
    compare.add_argument("--simulate", type=int, default=0, metavar="N", help="so many new simulations "
                         "may run, for estimators that need their own (default: none)")

    sweep = command("sweep", actions.sweep, "a simulator's outcomes over a grid of its parameters")
    sweep.add_argument("file", help="a sweep file: [simulator], [grid], …")
    sweep.add_argument("--outcome", help="which one to draw (default: the first)")
    sweep.add_argument("--accept-code", action="store_true", help=ACCEPT)

    replay = command("replay", actions.replay, "run one stored simulation again and compare")
    replay.add_argument("row", metavar="RUN:INDEX", help="such as runs/lif:137 (or RUN:ROUND/INDEX)")

    for name, help in (("status", "where a run stands: rows, fits, jobs at a site"),
                       ("cancel", "stop a run's jobs at a site"),
                       ("clean", "delete a run's files at a site")):
        at = command(name, actions.jobs, help)
        at.add_argument("run_folder", metavar="RUN")

    command("doctor", actions.doctor, "what is installed, what is broken, and why")

    plugins = command("plugins", lambda a: 0, "list, show, check or begin plugins")
    kinds = plugins.add_subparsers(required=True, metavar="ACTION")
    listing = kinds.add_parser("list", help="every simulator, estimator, executor, …")
    listing.add_argument("role", nargs="?", help="only this role")
    listing.set_defaults(run=actions.plugins_list)
    show = kinds.add_parser("show", help="one plugin's settings and abilities")
    show.add_argument("name")
    show.set_defaults(run=actions.plugins_show)
    verify = kinds.add_parser("check", help="load it and test what it promises")
    verify.add_argument("name")
    verify.set_defaults(run=actions.plugins_check)
    new = kinds.add_parser("new", help="write a package to start from; its tests pass")
    new.add_argument("name", help="such as my-neuron")
    new.add_argument("--role", default="simulator", choices=["simulator", "estimator", "feature"])
    new.add_argument("--observations", action="store_true",
                     help="an estimator that holds its own model: no simulator, no prior")
    new.add_argument("--into", default=".", help="the folder to write it into")
    new.set_defaults(run=actions.plugins_new)
    return top


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("inferkit")
    except metadata.PackageNotFoundError:
        return "(not installed)"
