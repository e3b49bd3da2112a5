"""The shape of the tree: sizes, docstrings, who may print, and which way imports point."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
PACKAGE = TOP / "orderctl"
CONTRACT_FOLDERS = ("daemons", "http", "sql", "cql")
MODULE_LINES_MAX, TEST_MODULE_LINES_MAX, FUNCTION_LINES_MAX = 400, 500, 60

# Each layer, and the layers it may import besides itself. `domain` is every module right under the package.
LAYERS = {
    "domain": set[str](),
    "stores": {"domain"},
    "services": {"domain", "stores"},
    "web": {"domain", "stores", "services"},
    "daemons": {"domain", "stores", "services", "web"},
    "admin": {"domain", "stores", "services"},
    "stack": {"domain"},
    "bench": {"domain", "stores", "services", "daemons", "stack"},
    "cli": {"domain", "stores", "services", "web", "daemons", "admin", "stack", "bench"},
}
DRIVERS = {
    "sqlite3": "stores/sqlite",
    "redis": "stores",
    "pymysql": "stores",
    "cassandra": "stores",
    "confluent_kafka": "stores",
}

SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((TOP / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(TOP))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def layer_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else "domain"


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name_of)
def test_a_module_says_its_idea_in_bounded_size(path: Path) -> None:
    """A docstring whose first line stands alone; a file that grows past the limit wants another design."""
    text, tree = path.read_text("utf-8"), parsed(path)
    docstring = ast.get_docstring(tree)
    assert docstring, "no module docstring"
    assert docstring.splitlines()[0].endswith((".", ":", "?")), "the first line is one sentence"
    assert text.count("\n") <= (MODULE_LINES_MAX if path in SOURCES else TEST_MODULE_LINES_MAX)
    assert not re.search(r"#\s*(?:TODO|FIXME|XXX)\b", text)
    for function in functions(tree):
        size = (function.end_lineno or 0) - function.lineno + 1
        assert size <= FUNCTION_LINES_MAX, f"{function.name} has {size} lines"


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_tests_tell_the_truth(path: Path) -> None:
    """No test without a sentence, none skipped, nothing patched, no waiting for seconds instead of a condition."""
    text, tree = path.read_text("utf-8"), parsed(path)
    for function in functions(tree):
        if function.name.startswith("test_"):
            assert ast.get_docstring(function), f"{function.name} has no docstring"
    here = Path(__file__) == path
    assert here or not re.search(
        r"unittest\.mock|monkeypatch\.setattr|mocker\.|pytest\.(?:mark\.)?skip|time\.sleep\(", text
    )


@cache
def documented_by_a_protocol() -> set[str]:
    """Method names that an abstract class documents once for all who implement it."""
    names: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & {"Protocol", "ABC"}:
                names |= {f.name for f in node.body if isinstance(f, ast.FunctionDef) and ast.get_docstring(f)}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_public_methods_are_documented(path: Path) -> None:
    """By themselves, or once by the Protocol that they implement."""
    known = documented_by_a_protocol()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and not method.name.startswith("_"):
                    assert ast.get_docstring(method) or method.name in known, f"{node.name}.{method.name}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    """From cli to admin, daemons -> services, web -> stores -> the domain; a driver is known to its store alone."""
    layer = layer_of(path)
    for module in imported(parsed(path)):
        parts = module.split(".")
        if parts[0] == "orderctl" and len(parts) > 1:
            target = parts[1] if parts[1] in LAYERS else "domain"
            is_entry_point = path.name == "__main__.py"
            assert is_entry_point or target == layer or target in LAYERS[layer], f"{layer} imports {module}"
        elif parts[0] in DRIVERS and layer != "bench":  # a ceiling is what the driver alone can do
            assert name_of(path).startswith(f"orderctl/{DRIVERS[parts[0]]}"), f"imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    """Everything else returns values and raises errors."""
    if layer_of(path) == "cli":
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "exit", "quit", "sys.exit", "sys.stdout.write", "sys.stderr.write"}, called


def test_package_files_hold_no_code() -> None:
    """`__init__.py` is a docstring; the package's own holds the version as well."""
    for path in PACKAGE.rglob("__init__.py"):
        body = parsed(path).body
        assert len(body) == (2 if path.parent == PACKAGE else 1), name_of(path)


def test_contract_folders_are_contracts() -> None:
    """No Python in them (in http/ it would shadow the standard library's), and a short README in each."""
    for folder in CONTRACT_FOLDERS:
        assert not list((TOP / folder).rglob("*.py")), folder
        assert (TOP / folder / "README.md").read_text("utf-8").count("\n") <= 30, folder


def test_modules_do_not_shadow_the_standard_library() -> None:
    """A relative mistake would import ours instead."""
    harmless = {"__init__", "__main__"}
    assert not {path.stem for path in SOURCES} & (set(sys.stdlib_module_names) - harmless)


def test_make_targets_are_short() -> None:
    """At most five lines each, so that what they do can be seen at a glance."""
    lines = (TOP / "Makefile").read_text("utf-8").splitlines()
    recipe = 0
    for line in lines:
        recipe = recipe + 1 if line.startswith("\t") else 0
        assert recipe <= 5, line


def test_no_address_or_machine_path_is_kept() -> None:
    """Where packages come from, and where a checkout lies, is nobody's business but the machine's."""
    listed = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=False)
    names = listed.stdout.splitlines() or [str(path.relative_to(TOP)) for path in SOURCES + TESTS]
    unwanted = re.compile(r"pypi\.(?:org|python)|files\.pythonhosted|(?<![\w.])/(?:work|root|farm)/|index-url")
    for name in names:
        path = TOP / name
        if path.is_file() and path != Path(__file__):
            assert not unwanted.search(path.read_text("utf-8", errors="replace")), name
