"""Who may know whom, held by reading the code; names and sizes of files; and what the documents promise."""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import benchmarks.latency.cli
import calibration_data.cli
import edge_agent.cli
import optimize.cli
import sync_server.cli

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("runtime", "optimize", "edge_agent", "sync_server", "benchmarks", "calibration_data")
STDLIB = sys.stdlib_module_names

MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "runtime.contracts": ("runtime.contracts",),
    "runtime": ("runtime",),
    "calibration_data": ("calibration_data", "runtime"),
    "optimize": ("optimize", "runtime", "calibration_data"),
    "edge_agent": ("edge_agent", "runtime"),
    "sync_server": ("sync_server", "runtime.contracts"),
    "benchmarks": ("benchmarks", "optimize", "edge_agent", "runtime", "calibration_data"),
}
"""Package to the packages of ours that it may import; the longest name that fits a module counts."""

THIRD_PARTY: Mapping[str, frozenset[str]] = {
    "runtime.contracts": frozenset(),
    "runtime": frozenset({"numpy", "cv2"}),
    "runtime.backends.onnxruntime": frozenset({"numpy", "onnxruntime"}),
    "runtime.backends.openvino": frozenset({"numpy", "openvino"}),
    "runtime.backends.tensorrt": frozenset({"numpy", "tensorrt", "tensorrt_rtx"}),
    "runtime.backends.cuda": frozenset({"numpy", "cuda"}),
    "runtime.backends.reference": frozenset({"numpy", "onnx"}),
    "edge_agent": frozenset({"httpx", "tuf", "securesystemslib", "jwt", "cryptography", "numpy", "cv2"}),
    "edge_agent.desk": frozenset({"starlette", "uvicorn", "anyio", "cryptography", "cv2", "numpy"}),
    "edge_agent.patches": frozenset({"backports", "compression"}),
}
"""Package or module to all that it may import from elsewhere; who is not named is bound by ``ONLY_IN`` alone."""

ONLY_IN: Mapping[str, tuple[str, ...]] = {
    "torch": (
        "optimize.backbone",
        "optimize.unfreeze",
        "optimize.sources.torch_module",
        "optimize.targets.torch_tensorrt",
        "benchmarks",
    ),
    "onnxruntime": (
        "runtime.backends.onnxruntime",
        "optimize.quantize",
        "optimize.calibrate",
        "optimize.kernels",
        "optimize.sensitivity",
        "optimize.half",
        "optimize.agreement",
        "optimize.sources.run_onnx",
        "optimize.targets.mobile",
        "optimize.targets.ort_file",
        "benchmarks",
    ),
    "openvino": ("runtime.backends.openvino", "optimize.targets.openvino", "benchmarks"),
    "nncf": ("optimize.targets.openvino", "benchmarks"),
    "tensorrt": ("runtime.backends.tensorrt",),
    "tensorrt_rtx": ("runtime.backends.tensorrt",),
    "cuda": ("runtime.backends.cuda",),
    "torch_tensorrt": ("optimize.targets.torch_tensorrt",),
    "transformers": ("optimize.sources.huggingface", "benchmarks"),
    "optimum": ("optimize.sources.huggingface", "benchmarks"),
    "lightgbm": ("optimize.sources.tabular_lightgbm", "benchmarks.fraud"),
    "xgboost": ("optimize.sources.tabular_xgboost", "benchmarks.fraud"),
    "skl2onnx": ("optimize.sources.tabular_fallback",),
    "mlflow": ("optimize.tracking", "optimize.sources.mlflow_model"),
    "matplotlib": ("optimize.page_plots", "benchmarks"),
    "onnx": ("runtime.backends.reference", "optimize", "benchmarks"),
    "sklearn": ("optimize", "benchmarks"),
    "fastapi": ("sync_server",),
    "sqlalchemy": ("sync_server",),
    "pydantic": ("sync_server",),
    "httpx": ("edge_agent", "benchmarks"),
    "pandas": (),
}
"""Heavy libraries, and the only modules or packages that may import them."""


def module_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def trees() -> Mapping[str, ast.Module]:
    """Every module of ours, parsed."""
    return {
        module_of(path): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for package in PACKAGES
        for path in sorted((REPOSITORY / package).rglob("*.py"))
    }


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports, functions included; ``from a import b`` gives ``a.b`` where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            base = node.module or ""
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in trees() else base
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield from (one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str))


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def longest(module: str, table: Mapping[str, object]) -> str | None:
    return max((name for name in table if within(module, name)), key=len, default=None)


def is_ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def imports_of(wanted: Callable[[str], bool]) -> list[tuple[str, str]]:
    return [(module, one) for module, tree in trees().items() for one in imported(tree) if wanted(one)]


def test_the_code_is_read_at_all() -> None:
    assert {module.split(".")[0] for module in trees()} == set(PACKAGES)
    assert ("runtime.policy", "runtime.contracts.bundle") in imports_of(is_ours)
    assert ("optimize.cli", "optimize.pipeline") in imports_of(is_ours)  # inside a function
    assert ("optimize.finetune", "optimize.backbone") in imports_of(is_ours)  # ``from optimize import backbone``


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_the_packages_that_it_may_know(package: str) -> None:
    wrong = [
        f"{module} imports {one}"
        for module, one in imports_of(is_ours)
        if longest(module, MAY_IMPORT) == package and not any(within(one, may) for may in MAY_IMPORT[package])
    ]
    assert wrong == []


def test_nothing_imports_the_benchmarks_and_only_the_table_speaks_for_a_package() -> None:
    assert [
        pair for pair in imports_of(lambda one: within(one, "benchmarks")) if not within(pair[0], "benchmarks")
    ] == []
    assert {longest(module, MAY_IMPORT) for module in trees()} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_a_station_imports_no_library_that_it_does_not_need(package: str) -> None:
    wrong = [
        f"{module} imports {one}"
        for module, one in imports_of(lambda one: not is_ours(one) and one.split(".")[0] not in STDLIB)
        if longest(module, THIRD_PARTY) == package and one.split(".")[0] not in THIRD_PARTY[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_heavy_library_is_imported_only_where_it_belongs(library: str) -> None:
    wrong = [
        f"{module} imports {one}"
        for module, one in imports_of(lambda one: within(one, library))
        if not any(within(module, place) for place in ONLY_IN[library])
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: {one for one in imported(tree) if one in trees()} - {module} for module, tree in trees().items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_no_import_is_relative() -> None:
    relative = [
        f"{module}:{node.lineno}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    program = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_contracts_are_light() -> None:
    modules = [module for module in trees() if within(module, "runtime.contracts")]
    assert len(modules) > 5
    loaded = modules_after(f"import {', '.join(modules)}")
    assert "runtime" in loaded
    assert not loaded & {"numpy", "cv2", "onnxruntime", "fastapi", "httpx"}


@pytest.mark.parametrize(
    ("statement", "without"),
    [
        ("import sync_server.app", {"torch", "onnxruntime", "cv2", "sklearn", "mlflow", "optimize", "edge_agent"}),
        ("import edge_agent.agent", {"torch", "sklearn", "pandas", "mlflow", "fastapi", "optimize", "sync_server"}),
        ("import optimize.cli", {"torch", "mlflow", "edge_agent", "sync_server"}),
        ("import runtime.inspector", {"torch", "onnxruntime", "sklearn", "onnx", "openvino", "httpx"}),
    ],
)
def test_a_program_starts_without_what_it_does_not_run(statement: str, without: set[str]) -> None:
    assert not modules_after(statement) & without


VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "core", "misc", "tools", "base"}


def test_a_module_is_named_for_what_it_decides_or_holds() -> None:
    assert [module for module in trees() if VAGUE & set(module.split("."))] == []


def test_no_module_takes_a_name_of_the_standard_library() -> None:
    assert [module for module in trees() if module.split(".")[-1] in STDLIB] == []


def test_a_packages_front_door_holds_one_docstring() -> None:
    fronts = {
        path.parent: ast.parse(path.read_text()).body
        for p in PACKAGES
        for path in Path(REPOSITORY, p).rglob("__init__.py")
    }
    assert {REPOSITORY / package for package in PACKAGES} <= set(fronts)
    assert [folder for folder, body in fronts.items() if len(body) != 1 or not isinstance(body[0], ast.Expr)] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module, tree in trees().items() if not ast.get_docstring(tree)] == []


def test_no_file_is_longer_than_its_room() -> None:
    rooms = [(path, 400) for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    rooms += [(path, 600) for path in (REPOSITORY / "tests").rglob("*.py")]
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path, _ in rooms}
    assert len(lengths) > 100
    assert {path: lengths[str(path)] for path, most in rooms if lengths[str(path)] > most} == {}


def test_no_dependency_ships_one_of_our_names() -> None:
    shipped = importlib.metadata.packages_distributions()
    assert "numpy" in shipped
    others = {name: set(shipped.get(name, ())) - {"touchstone-edge"} for name in PACKAGES}
    assert {name: found for name, found in others.items() if found} == {}


def project() -> dict[str, dict[str, dict[str, str]]]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield every command of a program as one types it; ``prog`` alone where it has no commands."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser.prog
    for action in below:
        for one in action.choices.values():
            yield from commands(one)


PARSERS: Mapping[str, Callable[[], argparse.ArgumentParser]] = {
    "touchstone-data": calibration_data.cli._parser,
    "touchstone-optimize": optimize.cli._parser,
    "touchstone-agent": edge_agent.cli.parser,
    "touchstone-server": sync_server.cli.build_parser,
    "touchstone-bench": benchmarks.latency.cli.parser,
}
COMMANDS = [command for parser in PARSERS.values() for command in commands(parser())]


def test_every_program_is_known_here() -> None:
    assert set(project()["project"]["scripts"]) == set(PARSERS)
    assert {parser().prog for parser in PARSERS.values()} == set(PARSERS)
    assert {"touchstone-data generate", "touchstone-optimize build", "touchstone-agent scan"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert command in (REPOSITORY / "README.md").read_text(encoding="utf-8")


INVARIANTS = range(1, 13)
REFERENCE = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


def invariants() -> dict[int, str]:
    """Return the numbered lines, with what follows them, under the heading of ARCHITECTURE.md that names invariants."""
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"(?ims)^#+ [^\n]*(?:always hold|invariant)[^\n]*\n(.*?)(?=^# |^## |\Z)", text)
    numbered = re.split(r"(?m)^\s*\|?\s*(\d+)[.)|]?\s", section)
    return {int(number): block for number, block in zip(numbered[1::2], numbered[2::2], strict=True)}


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


def test_the_architecture_numbers_its_twelve_invariants() -> None:
    assert set(invariants()) >= set(INVARIANTS)


@pytest.mark.parametrize("number", INVARIANTS)
def test_every_invariant_names_a_test_of_its_own(number: int) -> None:
    assert REFERENCE.search(invariants()[number]), f"invariant {number} names no tests/...py::test_..."


def test_every_test_that_the_architecture_names_exists() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = REFERENCE.findall(text)
    assert len(named) >= len(INVARIANTS)
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (REPOSITORY / file).is_file() or name not in functions_in(REPOSITORY / file)
    ]
    assert missing == []


def test_photos_are_decoded_in_one_place() -> None:
    decoders = {
        str(path.relative_to(REPOSITORY))
        for package in ("runtime", "calibration_data", "optimize", "edge_agent", "sync_server")
        for path in (REPOSITORY / package).rglob("*.py")
        if re.search(r"\b(imdecode|imread|Image\.open)\b", path.read_text())
    }
    assert decoders == {"runtime/preprocess.py"}
