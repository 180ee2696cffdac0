"""`python -m inferkit_brian2.build FOLDER`: a blueprint there becomes a program there.

It runs in a process of its own, as Brian2's device is one for a whole process.  Brian2 writes a C++
project; its text is changed (see rewrite.py) and joined with serve.cpp before it is compiled.

Two of Brian2's functions are written so that vectors of them can be computed: `exprel` without
branches, `timestep` without integers.  Flags let the compiler vectorise: with `-D__FAST_MATH__` the C
library declares its vector mathematics, which Brian2's `-fno-finite-math-only` had undone (NaN and
Inf stay what they are), and the limit on run-time checks for overlapping arrays is raised.  No loop is
to begin with some elements before its vectorised body.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from inferkit_brian2.rewrite import input_and_output, rewrite, support

FLAGS = [
    "-D__FAST_MATH__",
    "-fopenmp-simd",
    "--param=vect-max-version-for-alias-checks=1000",
    "--param=vect-max-peeling-for-alignment=0",
]
OWN = ("rows.h", "serve.h", "serve.cpp")

FUNCTIONS = {
    "exprel": """
    static inline double _exprel(double x) {
        const double y = expm1(x) / x;
        return fabs(x) < 1e-16 ? 1.0 : y;
    }
""",
    "timestep": """
    static inline double _timestep(double t, double dt) {
        return trunc((t + 1e-3 * dt) / dt);
    }
""",
}


def main(folder: Path) -> None:
    blueprint = pickle.loads((folder / "blueprint.pkl").read_bytes())

    import brian2
    from brian2 import device, prefs, set_device
    from brian2.core.functions import DEFAULT_FUNCTIONS
    from brian2.devices.cpp_standalone.codeobject import CPPStandaloneCodeObject

    prefs.codegen.cpp.extra_compile_args_gcc += FLAGS
    prefs.codegen.cpp.headers += ['"rows.h"']
    prefs.logging.console_log_level = "ERROR"
    brian2.BrianLogger.suppress_name("resolution_conflict")
    for kind in ("rand", "randn"):
        DEFAULT_FUNCTIONS[kind].implementations.add_dynamic_implementation(
            CPPStandaloneCodeObject,
            code=lambda owner, kind=kind: {"support_code": support(kind)},
            namespace=lambda owner: {},
            name=f"_{kind}",
        )
    for name, text in FUNCTIONS.items():
        DEFAULT_FUNCTIONS[name].implementations.add_implementation(
            CPPStandaloneCodeObject, code={"support_code": text}, name=f"_{name}"
        )
    set_device("cpp_standalone", build_on_run=False, directory=str(folder))
    made = blueprint.compose()
    for name, variable in made.arguments.items():
        if variable.size % blueprint.block:
            sys.exit(f"parameter {name!r} is shared by all rows: leave out (shared)")
    device.insert_code("after_start", "inferkit::serve();")
    device.apply_run_args()
    blueprint.begin(made)
    made.network.run(made.duration)
    device.insert_code("before_end", "inferkit::reply();")
    for file in OWN:
        shutil.copy(Path(__file__).parent / file, folder / file)
    device.build(
        str(folder),
        compile=False,
        run=False,
        with_output=False,
        additional_source_files=["serve.cpp", "io.cpp"],
    )
    block, everything = blueprint.block, blueprint.all_recorded
    (folder / "io.cpp").write_text(
        input_and_output(block, made.arguments, made.results, device, everything)
    )
    lanes = rewrite(folder, device, block, everything)
    (folder / "program.h").write_text(
        f"#pragma once\nnamespace inferkit {{ const int BLOCK = {block}, LANES = {lanes}; }}\n"
    )
    compile_(folder)
    told = {
        "arguments": list(made.arguments),
        "results": {key: held_as(var) for key, var in made.results.items()},
    }
    (folder / "program.json").write_text(json.dumps(told))


def held_as(variable: Any) -> str:
    flag = np.dtype(variable.dtype) == bool and not variable.dynamic
    return "int64" if flag else np.dtype(variable.dtype).name


def compile_(folder: Path) -> None:
    told = subprocess.run(
        ["make", "-j", os.environ.get("INFERKIT_BUILD_JOBS", "2")],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if told.returncode:
        sys.exit(f"the compiler says: {told.stderr[-2000:]}")
    for made_file in folder.rglob("*.o"):
        made_file.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
