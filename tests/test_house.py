"""The house stands as it was built: imports run one way, and no two modules import each other.

Every import counts, at the top of a module or hidden in a function.
"""

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "inferkit"
FLOORS = (
    {"errors"},
    {"data", "seeds", "progress", "provenance", "protocols", "shown"},
    {"plugins", "store"},
    {"prior", "simulate"},
    {"features"},
    {"estimate"},
    {"posterior"},
    {"diagnose"},
    {"plot"},
    {"report", "builtin", "tryout", "written"},
    {"beside", "running"},
    {"study"},
    {"commands"},
    {"testing", "__main__"},
)
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(HOUSE.rglob("*.py"))


def module_of(file: Path) -> str:
    parts = list(file.relative_to(HOUSE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(f): f for f in FILES}


def imports(file: Path) -> set[str]:
    """The modules of the house that a file imports: `from package import module` names the module."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return {name for name in found if name in MODULES} - {"inferkit"}


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", [m for m in MODULES if m != "inferkit"])
def test_imports_run_one_way(module):
    mine = FLOOR[room(module)]
    for other in imports(MODULES[module]):
        ground = mine == FLOOR[room(other)] == 1
        assert room(other) == room(module) or FLOOR[room(other)] < mine or ground, (
            f"{module} imports {other}, which stands on the same floor or above")


def test_no_two_modules_import_each_other():
    """A package's face imports its modules, so it is no module of the circle that a module closes."""
    faces = {m for m, f in MODULES.items() if f.name == "__init__.py"}
    edges = {m: imports(f) - faces for m, f in MODULES.items() if m not in faces}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module):], module])
        if module not in done:
            for other in sorted(edges.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_every_room_has_its_floor_and_says_what_it_is_for():
    rooms = {room(m) for m in MODULES if m != "inferkit"}
    assert rooms == set(FLOOR)
    for face in HOUSE.glob("*/__init__.py"):
        assert ast.get_docstring(ast.parse(face.read_text())), face


def test_only_strings_name_the_builtin_plugin():
    """The core finds its default plugin as it finds any other."""
    for module, file in MODULES.items():
        if module != "inferkit" and room(module) not in ("builtin", "testing", "commands"):
            assert not any(m.startswith("inferkit.builtin") for m in imports(file)), module
