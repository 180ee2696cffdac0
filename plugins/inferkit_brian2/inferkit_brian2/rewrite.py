"""What is changed in the C++ that Brian2 writes, before it is compiled.

- **Elements.**  A loop over a group's elements ends with the rows that run, at `inferkit::rows` times
  a row's share, rounded up to whole vectors: the arrays are longer by so much.  Every element thus
  runs in the vectorised body, never in a remainder, and its bytes do not depend on how many run.
  Where nothing in the loop has a state the compiler is told so (`omp simd`); other loops stay scalar.
- **Noise.**  `rand` and `randn` become functions of the row's own seed (see rows.h).
- **Thresholds.**  The condition is evaluated for many elements at once, then those that fired are
  listed.
- **Flags** (Brian2's booleans) are of 8 bytes, as the numbers beside them: bytes among doubles would
  make vectors of 64 elements, all of which had to run for one row.
- **Input and output** is that of serve.cpp.
"""

from __future__ import annotations

import itertools
import re
import sys
import zlib
from pathlib import Path
from typing import Any

LANES, BYTE_LANES = 16, 64
"""Elements in the widest vector of 4-byte numbers, and of bytes."""

SIMD = "#pragma omp simd\n    "
SCALAR = '__attribute__((optimize("no-tree-vectorize")))\n'
LOOPS = ("stateupdate", "threshold", "group_variable_set_conditional")
"""Templates whose loop runs over all elements, `_idx`."""

ONCE_AN_ELEMENT = (*LOOPS, "reset", "group_variable_set")
"""Templates whose code runs once an element and step, so that each call in it is a place of its own."""

CLOCK = r"(?m)^        current = std::clock\(\);\n        elapsed_realtime = .*\n"
"""A question for the processor's time in each step, a call of the kernel."""

CALL = r"(?<!double )\b_(randn?)\(_vectorisation_idx\)"


def support(kind: str) -> Any:
    """The C++ of `rand` or `randn` where it is called any number of times; `seeded` fills it in."""
    draw = f"inferkit::fraction(_counting_{kind}.next(@SEED@, @STEP@, @PLACE@, @ELEMENT@))"
    if kind == "rand":
        body = f"return {draw};"
    else:
        body = f"""const double a = {draw};
        const double b = {draw};
        return sqrt(-2.0 * log(a)) * cos(6.283185307179586 * b);"""
    return f"""
    inferkit::Counting _counting_{kind};
    inline double _{kind}(const int _i) {{
        {body}
    }}
    """


def rewrite(folder: Path, device: Any, block: int, all_recorded: bool) -> int:
    """The lanes that the program needs."""
    lanes = LANES
    for name, code in device.code_objects.items():
        for prefix in ("", "before_run_", "after_run_"):
            file = folder / "code_objects" / f"{prefix}{name}.cpp"
            if not file.exists():
                continue
            text = file.read_text()
            if "@SEED@" in text:
                text = seeded(text, name, code, block)
            if not prefix:
                text = looped(text, code, block, all_recorded)
            made = r"(_dynamic_array_\w+)\.resize\(newsize\)"  # where synapses are
            text = re.sub(made, r"inferkit::pad(\1, newsize)", text)
            body = text.index(f"void _{prefix or 'run_'}{name}()")
            if re.search(r"\bchar\b", text[:body]):  # somebody's own function
                lanes = BYTE_LANES
            file.write_text(text[:body] + re.sub(r"\bchar\b", "int64_t", text[body:]))
    for file, changes in {
        "objects.h": [(r"\bchar (\*\s*_array_)", r"int64_t \1", 0)],
        "objects.cpp": [
            (r"\bchar (\*\s*_array_)", r"int64_t \1", 0),
            (r"( _array_\w+) = new char\[", r"\1 = new int64_t[", 0),
            (r"( _array_\w+) = new (\w+)\[(\d+)\]", rf"\1 = new \2[\3 + {BYTE_LANES}]()", 1),
            (r"(?s)void set_variable_by_name\(.*?\n\}\n", "", 1),
        ],
        "main.cpp": [
            (r"(?s)void set_from_command_line\(.*?\n\}\n", "", 1),
            (r"set_from_command_line\(args\)", "inferkit::set_arguments()", 1),
        ],
        "network.cpp": [(CLOCK, "", 1)],
    }.items():
        path = folder / file
        path.write_text(changed(path.read_text(), changes, file))
    return lanes


def changed(text: str, changes: list[tuple[str, Any, int]], what: str) -> str:
    """(pattern, new, fewest times) one after another."""
    for pattern, new, fewest in changes:
        text, count = re.subn(pattern, new, text)
        if count < fewest:
            sys.exit(f"this version of Brian2 writes other code for {what!r}")
    return text


# -- loops -----------------------------------------------------------------------------------------


def elements(code: Any, block: int) -> str:
    """C++ for the number of elements that run: all of synapses, and where rows have no equal shares."""
    owner = code.owner
    if hasattr(owner, "_synaptic_post"):
        return f"brian::_array_{owner.name}_N[0]"
    return str(len(owner)) if len(owner) % block else f"(inferkit::rows * {len(owner) // block})"


def looped(text: str, code: Any, block: int, all_recorded: bool) -> str:
    template = code.template_name
    if template == "statemonitor":
        if not all_recorded:
            return scalar(text)
        many = f"inferkit::rounded(inferkit::rows * {len(code.owner.source) // block})"
        return changed(
            text,
            [
                (r"resize\(_new_size, _num_indices\)", f"resize(_new_size, {many})", 1),
                (r"( *)(for \(int _i = 0; _i < )\(int\)_num_indices", rf"\1{SIMD}\2{many}", 1),
            ],
            template,
        )
    if template not in LOOPS:
        return text
    stateless = not re.search(r"(?<!double )\b_randn?\(", text) and all(
        getattr(f, "stateless", True) for n, f in code.variables.items() if n not in ("rand", "randn")
    )
    many = elements(code, block)
    if template == "threshold":
        text = thresholds(text, many, SIMD if stateless else "")
    else:
        text = changed(
            text,
            [
                (r"const int _N = [^;]+;", f"const int _N = inferkit::rounded({many});", 1),
                (r"for\(int _idx=0; _idx<_N", (SIMD if stateless else "") + r"\g<0>", 1),
            ],
            template,
        )
    return text if stateless else scalar(text)


def scalar(text: str) -> str:
    return re.sub(r"(?m)^void _run_\w+\(\)$", SCALAR + r"\g<0>", text)


def thresholds(text: str, many: str, simd: str) -> str:
    if simd:
        simd = simd.replace("simd", "simd reduction(|:_any)")
    return changed(
        text,
        [
            (
                r"(?s)for\(size_t _idx=0; _idx<N; _idx\+\+\)\s*\{\s*"
                r"const size_t _vectorisation_idx = _idx;"
                r"(.*?)\n\s*if\(_cond\) \{(.*?)\n {8}\}\n",
                lambda m: (
                    f"""const int _active = {many}, _whole = inferkit::rounded(_active);
    for(int _first=0; _first<_whole; _first+={BYTE_LANES})
    {{
        int64_t _fired[{BYTE_LANES}], _any = 0;
        const int _many = _whole - _first < {BYTE_LANES} ? _whole - _first : {BYTE_LANES};
        {simd}for(int _lane=0; _lane<_many; _lane++)
        {{
            const int _idx = _first + _lane;
            const size_t _vectorisation_idx = _idx;{m[1]}
            _fired[_lane] = _cond;
            _any |= _fired[_lane];
        }}
        if(!_any) continue;
        for(int _idx=_first; _idx<_first + _many && _idx<_active; _idx++)
            if(_fired[_idx - _first]) {{{m[2]}
            }}
"""
                ),
                1,
            )
        ],
        "threshold",
    )


# -- noise -----------------------------------------------------------------------------------------


def seeded(text: str, name: str, code: Any, block: int) -> str:
    """Fill in how this code's elements belong to rows, and number its places."""
    place = zlib.crc32(name.encode())
    outer = re.search(r"for\(size_t _([ij])=0; _\1<_N_(pre|post); ", text)  # of synapses being made
    clock = code.owner.clock.name if hasattr(code.owner, "clock") else "defaultclock"
    step = f"brian::_array_{clock}_timestep[0]"
    if code.template_name in ONCE_AN_ELEMENT:
        row, element = belonging(code, block, "", "_idx")
        head, loop, body = text.partition("const size_t _vectorisation_idx = _idx;")
        if re.search(CALL, head):
            sys.exit("a random number that all rows share belongs to none: leave out (shared)")
        body = "".join(numbered(line, name, row, element) for line in body.splitlines(keepends=True))
        hoisted = f"const uint64_t* const _seed = inferkit::seed;\n    const uint64_t _step = {step};\n"
        text = re.sub(r"//// MAIN CODE /+[ \t]*\n", rf"\g<0>    {hoisted}", head) + loop + body
    elif outer:
        text = re.sub(CALL, rf"_\1(_{outer[1]})", text)
    row, element = belonging(code, block, outer[2] if outer else "", "_i")
    values = {
        "@SEED@": f"inferkit::seed[{row}]",
        "@STEP@": step,
        "@PLACE@": f"{place}ULL",
        "@ELEMENT@": f"(uint64_t)({element})",
    }
    for key, value in values.items():
        text = text.replace(key, value)
    return text


def numbered(line: str, name: str, row: str, element: str) -> str:
    """The line's calls, each with a place made of the code's name, the variable it sets, its turn."""
    places = itertools.count(place_of(name, line))
    which = {"rand": "uniform", "randn": "normal"}
    at = f"_seed[{row}], _step, {{}}ULL, (uint64_t)({element})"
    return re.sub(CALL, lambda m: f"inferkit::{which[m[1]]}({at.format(next(places))})", line)


def place_of(name: str, line: str) -> int:
    """Not by line number: Brian2 orders some lines by the hashes of names."""
    assigned = re.search(r"(\w+)(?:\[\w*\])?\s*[-+*/]?=(?!=)", line)
    return zlib.crc32(f"{name}:{assigned[1] if assigned else ''}".encode())


def belonging(code: Any, block: int, outer: str, at: str) -> tuple[str, str]:
    """C++ for the row of an element `at`, and for its place within the row.

    Elements are neurons, synapses, or, where synapses are being made, the neurons of side `outer`.
    """
    owner = code.owner
    if hasattr(owner, "_synaptic_post") and not outer:
        pre, post = len(owner.source) // block, len(owner.target) // block
        held = f"brian::_dynamic_array_{owner.name}__synaptic_{{}}[{at}]"
        i, j = held.format("pre"), held.format("post")
        return f"{j} / {post}", f"({i} % {pre}) * {post} + {j} % {post}"
    size = len({"pre": owner.source, "post": owner.target}[outer] if outer else owner)
    each = size // block
    return (at, "0") if each == 1 else (f"{at} / {each}", f"{at} % {each}")


# -- what the program reads and writes -------------------------------------------------------------


def input_and_output(
    block: int, arguments: dict[str, Any], results: dict[str, Any], device: Any, all_recorded: bool
) -> str:
    """io.cpp: the arguments in order, and of the results what belongs to the rows that run."""
    lines = []
    for variable in results.values():
        name = f"brian::{device.get_array_name(variable, access_data=False)}"
        if getattr(variable, "ndim", 1) == 2:
            share = len(variable.owner.source) // block
            lines.append(f"told.matrix({name}, {f'rows * {share}' if all_recorded else f'{name}.m'});")
        elif variable.dynamic:
            lines.append(f"told.vector({name});")
        else:
            count = variable.size if variable.size % block else f"rows * {variable.size // block}"
            lines.append(f"told.array({name}, {count});")
    sets = "\n".join(
        f"    set(brian::{device.get_array_name(v, access_data=False)}, {v.size}, {k});"
        for k, v in enumerate(arguments.values())
    )
    puts = "\n".join(f"    {line}" for line in lines)
    return f"""#include "objects.h"
#include "serve.h"
namespace inferkit {{
const int argument_count = {len(arguments)}, result_count = {len(results)};
void set_arguments() {{
{sets}
}}
void results(Results& told) {{
{puts}
}}
}}
"""
