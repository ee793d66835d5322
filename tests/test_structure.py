"""Which module may import which, and what an import may cost: the walls of the house."""

from __future__ import annotations

import ast
import builtins
import functools
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from .blocks import blocks

TOP = Path(__file__).parent.parent
LIBRARY = TOP / "ec2ident"
AGENT = TOP / "agent" / "ec2ident_agent"

#: A foreign library is imported in one place, where its errors are translated: only these files may name it.
ALONE = {
    "requests": {"ec2ident/imds/http.py"},
    "urllib3": {"ec2ident/imds/http.py"},
    "psutil": {"ec2ident/host/__init__.py"},
    "pyroute2": {"agent/ec2ident_agent/kernel/messages.py"},
    "cryptography": {"ec2ident/proof/trust.py", "ec2ident/testing/signing.py", "ec2ident/admission/keys.py"},
    "tomllib": {"agent/ec2ident_agent/strict_toml.py"},
    "tomli": {"agent/ec2ident_agent/strict_toml.py"},
    "botocore": {"agent/ec2ident_agent/failover/aws/credentials.py"},
    "boto3": set[str](),
    # Only when dataclasses itself looks at a value of the library, so it is loaded already.
    "dataclasses": {"ec2ident/value.py"},
    "pytest": {"ec2ident/testing/pytest_plugin.py"},
}

#: Modules without any effect: they may import pure modules only.
PURE = {
    "ec2ident/value.py",
    "ec2ident/standin.py",
    "ec2ident/program/exit_codes.py",
    "ec2ident/program/spelling.py",
    "ec2ident/errors.py",
    "ec2ident/model.py",
    "ec2ident/proof/document.py",
    "ec2ident/proof/ber.py",
    "ec2ident/proof/cms.py",
    "ec2ident/proof/algorithms.py",
    "ec2ident/proof/layout.py",
    "ec2ident/proof/template.py",
    "ec2ident/proof/forms.py",
    "ec2ident/proof/repairs.py",
    "ec2ident/firmware.py",
    "ec2ident/assess.py",
    "ec2ident/imds/responders.py",
    "ec2ident/dependency.py",
    "ec2ident/binding.py",
    "ec2ident/regions/partitions.py",
    "ec2ident/regions/endpoints.py",
    "ec2ident/proof/policy.py",
    "ec2ident/admission/errors.py",
    "ec2ident/admission/challenge.py",
    "ec2ident/admission/request.py",
    "ec2ident/admission/keys.py",
    "ec2ident/admission/caller.py",
    "ec2ident/admission/liveness.py",
    "agent/ec2ident_agent/errors.py",
    "agent/ec2ident_agent/inet.py",
    "agent/ec2ident_agent/items.py",
    "agent/ec2ident_agent/options.py",
    "agent/ec2ident_agent/exposition.py",
    "agent/ec2ident_agent/watch/backoff.py",
    "agent/ec2ident_agent/watch/event.py",
    "agent/ec2ident_agent/watch/standing.py",
    "agent/ec2ident_agent/profile.py",
    "agent/ec2ident_agent/capture.py",
    "agent/ec2ident_agent/notes.py",
    "agent/ec2ident_agent/selectors.py",
    "agent/ec2ident_agent/effect.py",
    "agent/ec2ident_agent/desired.py",
    "agent/ec2ident_agent/facts.py",
    "agent/ec2ident_agent/adoption.py",
    "agent/ec2ident_agent/main_table.py",
    "agent/ec2ident_agent/engine.py",
    "agent/ec2ident_agent/warm/progress.py",
    "agent/ec2ident_agent/kernel/protocol.py",
    "agent/ec2ident_agent/state/owned.py",
    "agent/ec2ident_agent/failover/aws/response.py",
    "agent/ec2ident_agent/failover/aws/actions.py",
    "agent/ec2ident_agent/failover/errors.py",
    "agent/ec2ident_agent/failover/aws/forms.py",
    "agent/ec2ident_agent/failover/records/metrics.py",
    "agent/ec2ident_agent/failover/selectors.py",
    "agent/ec2ident_agent/failover/bgp/frr.py",
    "agent/ec2ident_agent/failover/bgp/answers.py",
    "agent/ec2ident_agent/failover/aws/model.py",
    "agent/ec2ident_agent/failover/aws/redaction.py",
    "agent/ec2ident_agent/failover/aws/sigv4.py",
    "agent/ec2ident_agent/failover/aws/xml.py",
}

#: What a pure module never touches: files, sockets, processes, clocks.
EFFECTS = {
    "os",
    "io",
    "socket",
    "_socket",
    "subprocess",
    "time",
    "select",
    "fcntl",
    "random",
    "pathlib",
    "threading",
    "signal",
}

#: What costs more than it may on the way to a hook's "nothing to do".
HEAVY = ("requests", "cryptography", "psutil", "pyroute2", "asyncio", "ssl")


def modules() -> list[Path]:
    return sorted([*LIBRARY.rglob("*.py"), *AGENT.rglob("*.py")])


def name_of(path: Path) -> str:
    return path.relative_to(TOP).as_posix()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(path: Path) -> frozenset[str]:
    """Absolute dotted names of all that a module imports when it runs, in functions too."""
    return imports_of(path, path.read_text(encoding="utf-8"))


@functools.cache
def imports_of(path: Path, text: str) -> frozenset[str]:
    package = list(path.relative_to(TOP / "agent" if AGENT in path.parents else TOP).with_suffix("").parts)
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and is_type_checking(node):
            for branch in node.orelse:
                visit(branch)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{stem}.{alias.name}" for alias in node.names)
            found.add(stem)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(text))
    return frozenset(found)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("library", sorted(ALONE))
def test_each_foreign_library_has_one_importer(library: str) -> None:
    """Its errors are translated in that one file; no other module knows of them."""
    importers = {name_of(path) for path in modules() if library in roots(path)}

    assert importers <= ALONE[library]


def arrows(room: bool) -> dict[str, set[str]]:
    """Module -> the project's modules that it imports when it runs, also inside functions; or the same of rooms.

    A room is a folder, or a module that stands beside the folders.
    """
    names = {dotted(path): path for path in modules()}

    def home(name: str) -> str:
        while name not in names:
            name = name.rpartition(".")[0]
        return room_of(name) if room else name

    found: dict[str, set[str]] = {}
    for name, path in names.items():
        ours = {each for each in imports(path) if each.split(".")[0] in ("ec2ident", "ec2ident_agent")}
        # `from . import x` is an arrow to x alone.
        ours -= {each for each in ours if any(other.startswith(f"{each}.") for other in ours)}
        # A package itself is imported with each of its modules, and imports them only when a name of them is used.
        found.setdefault(home(name), set()).update({home(each) for each in ours} - {home(name), *PACKAGES})
    return {name: used for name, used in found.items() if name not in PACKAGES}


PACKAGES = {"ec2ident", "ec2ident_agent", "ec2ident_agent.failover"}


def dotted(path: Path) -> str:
    name = ".".join(path.relative_to(TOP / "agent" if AGENT in path.parents else TOP).with_suffix("").parts)
    return name.removesuffix(".__init__")


def room_of(module: str) -> str:
    package = "ec2ident_agent.failover" if module.startswith("ec2ident_agent.failover.") else module.split(".")[0]
    return ".".join(module.split(".")[: package.count(".") + 2])


@pytest.mark.parametrize("room", [False, True], ids=["modules", "rooms"])
def test_imports_make_no_circle(room: bool) -> None:
    """Not between modules, and not between rooms: an arrow up is half of a circle. Imports that only a type checker
    follows are left out, because they order nothing when the program runs.
    """
    try:
        TopologicalSorter(arrows(room)).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


def test_the_circle_test_sees_a_circle() -> None:
    """It reads the imports that it is about: of functions, relative ones, and of a name or a module."""
    found = arrows(room=False)

    assert {"ec2ident_agent.node", "ec2ident_agent.options", "ec2ident_agent.watch.loop"} <= found["ec2ident_agent.cli"]
    assert {"ec2ident_agent.state.owned", "ec2ident_agent.inet"} <= found["ec2ident_agent.profile"]
    assert {"ec2ident_agent.items", "ec2ident_agent.errors"} <= arrows(room=True)["ec2ident_agent.state"]


def test_only_the_host_module_starts_programs() -> None:
    """In the library, programs are started in one place, with a time limit."""
    importers = {name_of(path) for path in LIBRARY.rglob("*.py") if "subprocess" in roots(path)}

    assert importers <= {"ec2ident/host/programs.py"}


def test_the_library_never_imports_the_agent() -> None:
    """Dependencies point one way: an application that verifies documents does not carry a network agent."""
    assert [] == [name_of(path) for path in LIBRARY.rglob("*.py") if "ec2ident_agent" in roots(path)]


def test_only_failover_imports_failover() -> None:
    """The agent runs without the extra: failover may use the agent's engine, never the other way."""
    guilty = [
        name_of(path)
        for path in AGENT.rglob("*.py")
        if AGENT / "failover" not in path.parents
        and any(name.startswith("ec2ident_agent.failover") for name in imports(path))
    ]

    assert [] == guilty


def test_only_the_command_line_reads_arguments() -> None:
    """argparse belongs to the cli modules, and to a module of its own beside one; the rest is a library."""
    importers = {name_of(path) for path in modules() if "argparse" in roots(path)}

    assert all(name.endswith(("cli.py", "arguments.py", "__main__.py")) for name in importers), importers


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_has_no_effects(name: str) -> None:
    """It imports nothing that reads a file, a socket, a clock or a process, and only pure modules of the project."""
    path = TOP / name
    assert path.exists()

    assert set() == roots(path) & EFFECTS
    ours = {found for found in imports(path) if found.split(".")[0] in ("ec2ident", "ec2ident_agent")}
    every = {dotted(each) for each in modules()}
    # A package's own module imports nothing that costs or acts.
    pure = {dotted(each) for each in modules() if name_of(each) in PURE or each.name == "__init__.py"}
    assert [] == [found for found in ours if (found if found in every else found.rpartition(".")[0]) not in pure]


def test_a_class_name_means_one_thing() -> None:
    """A reader, and an `except`, must not depend on which import stands above. Private names are a module's own."""
    homes: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name_of(path))

    assert {} == {name: found for name, found in homes.items() if len(found) > 1}


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    path = ":".join([str(TOP), str(TOP / "agent")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", ["ec2ident", "ec2ident_agent"])
def test_every_public_name_is_there_for_programs_and_for_type_checkers(name: str) -> None:
    """The lazy table, `__all__` and what type checkers see are one list."""
    package = import_module(name)
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    checked = {
        alias.name
        for node in tree.body
        if is_type_checking(node)
        for found in ast.walk(node)
        if isinstance(found, ast.ImportFrom) and found.level
        for alias in found.names
    }

    assert sorted(checked) == sorted(package.__all__) == sorted(package._HOME)
    assert [] == [each for each in package.__all__ if getattr(package, each) is None]


@pytest.mark.parametrize("package", ["ec2ident", "ec2ident_agent"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    """An import costs nothing: each public name is loaded when it is first used."""
    added = loaded_by(f"import {package}") - loaded_by("pass")

    assert set() == added & {*HEAVY, "typing", "dataclasses", "argparse", "json", "re", "enum"}
    assert {name for name in added if name.split(".")[0] not in ("ec2ident", "ec2ident_agent")} <= {"__future__"}


def test_the_tests_folders_mirror_the_rooms() -> None:
    """Tests of a module in a room stand in the folder of the same name: each folder of tests is a room of the code."""
    mirrors = {"tests/agent": AGENT, "tests/failover": AGENT / "failover", "tests/lib": LIBRARY}
    # The fake of the API, the simulated cluster, region and route server, and the situations of public reports.
    ours = ("failover/fake", "failover/cluster", "failover/region", "failover/bgp", "agent/field")
    own = {f"tests/{each}" for each in ours}
    rooms = {
        name_of(path.parent): mirrors[top] / path.parent.relative_to(TOP / top)
        for top in mirrors
        for path in (TOP / top).rglob("test_*.py")
    }

    assert [] == [folder for folder, room in rooms.items() if folder not in own and not (room / "__init__.py").exists()]


#: Calls that read a clock, and names that tests give to what they measured.
CLOCKS, MEASURED = {"monotonic", "perf_counter", "time"}, {"took", "elapsed", "spent"}


def reads_a_clock(node: ast.AST) -> bool:
    """Does an expression hold a clock's reading, or a time that was measured?"""
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in CLOCKS:
            return True
        if isinstance(each, ast.Name) and each.id in MEASURED:
            return True
    return False


def test_no_test_asserts_an_absolute_time() -> None:
    """A number of seconds holds on one machine: a bound is made of what the test gave, such as a timeout."""
    guilty = [
        f"{name_of(path)}:{node.lineno}"
        for path in sorted((TOP / "tests").rglob("test_*.py"))
        for held in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(held, ast.Assert)
        for node in ast.walk(held)
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[-1], (ast.Lt, ast.LtE))
        and reads_a_clock(node)
        and not any(isinstance(each, (ast.Name, ast.Attribute)) for each in ast.walk(node.comparators[-1]))
    ]

    assert [] == guilty


def test_an_error_of_the_project_is_expected_with_its_words() -> None:
    """Without `match`, or a look at the error, another failure of the same class would pass for the right one."""
    guilty = [
        f"{name_of(path)}:{item.context_expr.lineno}"
        for path in sorted((TOP / "tests").rglob("test_*.py"))
        for held in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(held, ast.With)
        for item in held.items
        if isinstance(item.context_expr, ast.Call) and ast.unparse(item.context_expr.func) == "pytest.raises"
        if item.optional_vars is None and not item.context_expr.keywords
        if (name := ast.unparse(item.context_expr.args[0])).endswith("Error") and not hasattr(builtins, name)
    ]

    assert [] == guilty


def test_every_test_says_what_it_holds() -> None:
    """The name is a statement, and the docstring the fact behind it."""
    silent = [
        f"{name_of(path)}::{node.name}"
        for path in sorted((TOP / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert [] == silent


def test_lines_of_documents_fit_a_screen() -> None:
    """Prose is wrapped at 120 characters; tables and code blocks stay as they are."""
    wide = []
    names = subprocess.run(["git", "ls-files", "*.md"], cwd=TOP, capture_output=True, text=True, check=False).stdout
    for name in names.split() or [path.relative_to(TOP).as_posix() for path in TOP.glob("*.md")]:
        code = False
        for number, line in enumerate((TOP / name).read_text(encoding="utf-8").splitlines(), 1):
            code ^= line.lstrip().startswith("```")
            if not code and not line.startswith(("|", ">>>", "...")) and len(line) > 120:
                wide.append(f"{name}:{number}")

    assert [] == wide


def test_each_block_of_commands_is_run_or_says_why_not() -> None:
    """By a comment before it: `<!-- run: FILE OF TESTS -->`, or `<!-- not run: REASON -->` (tests/blocks.py)."""
    assert [] == [str(block) for block in blocks() if not block.by]
