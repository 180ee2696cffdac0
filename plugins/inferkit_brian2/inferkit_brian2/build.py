"""`python -m inferkit_brian2.build FOLDER`: a blueprint there becomes a program there.

It runs in a process of its own, as Brian2's device is one for a whole process.  Brian2 writes a C++
project; then, before it is compiled, some things are changed in the text:

- loops over neurons end at `inferkit::rows`, which is told at each run, so that one program serves
  batches of any size up to the block.  It is a multiple of 32: every row runs in the vectorised body
  of the loop, never in its remainder, and its bytes do not depend on how many rows run;
- `rand` and `randn` become functions of the row's own seed (see rows.h);
- `exprel` is written without branches;
- two flags let the compiler vectorise: with `-D__FAST_MATH__` the C library declares its vector
  mathematics, which Brian2's `-fno-finite-math-only` had undone (NaN and Inf stay what they are), and
  the limit on run-time checks for overlapping arrays is raised.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FLAGS = ["-D__FAST_MATH__", "--param=vect-max-version-for-alias-checks=1000"]
ONCE_AN_ELEMENT = (
    "stateupdate",
    "threshold",
    "reset",
    "group_variable_set",
    "group_variable_set_conditional",
)
"""Templates whose code runs once an element and step, so that each call in it is a place of its own."""

EXPREL = """
    static inline double _exprel(double x) {
        const double y = expm1(x) / x;
        return fabs(x) < 1e-16 ? 1.0 : y;
    }
"""

SOURCE = """
#include "rows.h"
#include <cstdio>
#include <cstdlib>
#include <vector>
namespace inferkit {
int rows = 0;
const uint64_t* seed = nullptr;
static std::vector<uint64_t> held;
void read(int block) {
    held.assign(block, 0);
    rows = block;
    if (const char* told = std::getenv("INFERKIT_ROWS")) rows = std::atoi(told);
    if (const char* file = std::getenv("INFERKIT_SEEDS")) {
        FILE* f = std::fopen(file, "rb");
        if (!f || std::fread(held.data(), 8, block, f) != (size_t)block) {
            std::fprintf(stderr, "cannot read the seeds in %s\\n", file);
            std::exit(3);
        }
        std::fclose(f);
    }
    seed = held.data();
}
}
"""


def support(kind: str) -> Any:
    """The C++ of `rand` or `randn`; `seeded` fills in the place-holders."""
    if kind == "randn":
        once = "inferkit::normal(@SEED@, @STEP@, place, @ELEMENT@)"
        draw = "inferkit::fraction(_counting_randn.next(@SEED@, @STEP@, @PLACE@, @ELEMENT@))"
        many = f"""const double a = {draw};
        const double b = {draw};
        return sqrt(-2.0 * log(a)) * cos(6.283185307179586 * b);"""
    else:
        once = "inferkit::uniform(@SEED@, @STEP@, place, @ELEMENT@)"
        many = "return inferkit::fraction(_counting_rand.next(@SEED@, @STEP@, @PLACE@, @ELEMENT@));"
    return f"""
    inferkit::Counting _counting_{kind};
    inline double _{kind}(const int _i) {{
        {many}
    }}
    inline double _{kind}_at(const int _i, const uint64_t place) {{
        return {once};
    }}
    """


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
    DEFAULT_FUNCTIONS["exprel"].implementations.add_implementation(
        CPPStandaloneCodeObject, code={"support_code": EXPREL}, name="_exprel"
    )
    set_device("cpp_standalone", build_on_run=False, directory=str(folder))
    made = blueprint.compose()
    device.insert_code("before_start", f"inferkit::read({blueprint.block});")
    device.apply_run_args()
    blueprint.begin(made)
    made.network.run(made.duration)
    (folder / "rows.h").write_text(
        (Path(__file__).parent / "rows.h")
        .read_text()
        .replace("}  // namespace inferkit", "void read(int block);\n}  // namespace inferkit")
    )
    (folder / "inferkit_rows.cpp").write_text(SOURCE)
    device.build(
        str(folder),
        compile=False,
        run=False,
        with_output=False,
        additional_source_files=["inferkit_rows.cpp"],
    )
    patch(folder, device, blueprint)
    told = subprocess.run(
        ["make", "-j", os.environ.get("INFERKIT_BUILD_JOBS", "2")],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if told.returncode:
        sys.exit(f"the compiler says: {told.stderr[-2000:]}")
    described = {
        key: {"file": device.get_array_filename(var), "dtype": np.dtype(var.dtype).name}
        for key, var in made.results.items()
    }
    arguments = {
        key: {
            "name": f"{var.owner.name}.{var.name}",
            "dtype": np.dtype(var.dtype).name,
            "size": int(var.size),
        }
        for key, var in made.arguments.items()
    }
    (folder / "program.json").write_text(
        json.dumps({"results": described, "arguments": arguments, "block": blueprint.block})
    )
    for made_file in folder.rglob("*.o"):
        made_file.unlink()


def patch(folder: Path, device: Any, blueprint: Any) -> None:
    for name, code in device.code_objects.items():
        for prefix in ("", "before_run_", "after_run_"):
            file = folder / "code_objects" / f"{prefix}{name}.cpp"
            if not file.exists():
                continue
            text = file.read_text()
            if "@SEED@" in text:
                text = seeded(text, name, code, blueprint.block)
            if blueprint.trims(code.owner.name) and not prefix:
                text = trimmed(text, code.template_name, blueprint.per_row)
            file.write_text(text)


def seeded(text: str, name: str, code: Any, block: int) -> str:
    """Fill in how this code's elements belong to rows, and number its places."""
    place = zlib.crc32(name.encode())
    outer = re.search(r"for\(size_t (_[ij])=0; \1<_N_(pre|post); ", text)  # of synapses being made
    row, element = belonging(code, block, outer[2] if outer else "")
    if outer:
        text = re.sub(r"(?<!double )\b_(randn?)\(_vectorisation_idx\)", rf"_\1({outer[1]})", text)
    if code.template_name in ONCE_AN_ELEMENT:
        text = "".join(numbered(line, name) for line in text.splitlines(keepends=True))
    clock = code.owner.clock.name if hasattr(code.owner, "clock") else "defaultclock"
    values = {
        "@SEED@": f"inferkit::seed[{row}]",
        "@STEP@": f"brian::_array_{clock}_timestep[0]",
        "@PLACE@": f"{place}ULL",
        "@ELEMENT@": f"(uint64_t)({element})",
    }
    for key, value in values.items():
        text = text.replace(key, value)
    return text


def numbered(line: str, name: str) -> str:
    """The line's calls, each with a place made of the code's name, the variable it sets, its turn."""
    turn = iter(range(100))
    base = place_of(name, line)
    return re.sub(
        r"(?<!double )\b_(randn?)\(_vectorisation_idx\)",
        lambda m: f"_{m[1]}_at(_vectorisation_idx, {base + next(turn)}ULL)",
        line,
    )


def place_of(name: str, line: str) -> int:
    """Not by line number: Brian2 orders some lines by the hashes of names."""
    assigned = re.search(r"(\w+)(?:\[\w*\])?\s*[-+*/]?=(?!=)", line)
    return zlib.crc32(f"{name}:{assigned[1] if assigned else ''}".encode())


def belonging(code: Any, block: int, outer: str) -> tuple[str, str]:
    """C++ for the row of an element `_i`, and for its place within the row.

    Elements are neurons, synapses, or, where synapses are being made, the neurons of side `outer`.
    """
    owner = code.owner
    if hasattr(owner, "_synaptic_post") and not outer:
        pre, post = len(owner.source) // block, len(owner.target) // block
        at = f"brian::_dynamic_array_{owner.name}__synaptic_{{}}[_i]"
        i, j = at.format("pre"), at.format("post")
        return f"{j} / {post}", f"({i} % {pre}) * {post} + {j} % {post}"
    size = len({"pre": owner.source, "post": owner.target}[outer] if outer else owner)
    each = size // block
    return ("_i", "0") if each == 1 else (f"_i / {each}", f"_i % {each}")


def trimmed(text: str, template: str, per_row: int) -> str:
    """Loops over the group's neurons end with the rows that run."""
    active = "inferkit::rows" if per_row == 1 else f"(inferkit::rows * {per_row})"
    if template == "statemonitor":
        return must(
            text,
            [
                (r"resize\(_new_size, _num_indices\)", f"resize(_new_size, {active})"),
                (r"_i < \(int\)_num_indices", f"_i < {active}"),
            ],
            template,
        )
    if template == "threshold":
        return must(
            text,
            [
                (
                    r"for\(size_t _idx=0; _idx<N; _idx\+\+\)",
                    f"for(size_t _idx=0; _idx<(size_t){active}; _idx++)",
                )
            ],
            template,
        )
    if template == "stateupdate":
        return must(text, [(r"const int _N = [^;]+;", f"const int _N = {active};")], template)
    return text


def must(text: str, changes: list[tuple[str, str]], template: str) -> str:
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text)
        if not count:
            sys.exit(f"this version of Brian2 writes other code for {template!r}")
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
