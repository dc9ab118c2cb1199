"""Who may import whom, where import-linter has no words for it: lists of what is allowed, and imports put off."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """The top-level names of all modules that the nodes import."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


@pytest.mark.parametrize("module", modules("contract"), ids=lambda path: str(path.relative_to(ROOT)))
def test_contract_needs_nothing_but_numpy_and_pillow(module: Path) -> None:
    allowed = sys.stdlib_module_names | {"numpy", "PIL", "contract"}
    assert imported(ast.walk(ast.parse(module.read_text()))) <= allowed


@pytest.mark.parametrize("module", modules("cli"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_command_line_imports_the_model_zoo_only_when_it_builds(module: Path) -> None:
    assert "modelzoo" not in imported(outside_functions(ast.parse(module.read_text())))


@pytest.mark.parametrize("package", ["backend", "inference", "cli"])
def test_the_cuda_engine_is_imported_by_engines_alone_and_only_when_it_loads(package: str) -> None:
    """A machine without such a device must not even look for torch."""
    engine = {"inference.torch_runners", "inference.filters_cuda"}
    for module in modules(package):
        tree = ast.parse(module.read_text())
        if engine & {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}:
            assert module == ROOT / "inference" / "engines.py"
            early = {node.module for node in outside_functions(tree) if isinstance(node, ast.ImportFrom)}
            assert not engine & early
