"""Who may import whom, where import-linter has no words for it: lists of what is allowed, and imports put off."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
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
        for_types_alone = (
            isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        )
        if not for_types_alone and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
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
    engine = {"inference.torch_runners", "inference.filters_cuda", "inference.decode_cuda"}
    for module in modules(package):
        tree = ast.parse(module.read_text())
        if engine & {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}:
            assert module == ROOT / "inference" / "engines.py"
            early = {node.module for node in outside_functions(tree) if isinstance(node, ast.ImportFrom)}
            assert not engine & early


REQUIREMENTS = {
    "backend": ("backend", "live"),
    "bench": ("bench", "backend", "cli", "live", "modelzoo", "test"),
    "cli": ("cli", "backend", "live"),
    "contract": ("backend",),
    "frontend": ("frontend",),
    "glue_jobs": ("glue",),
    "inference": ("backend", "backend-gpu", "live"),
    "localcloud": ("localcloud",),
    "modelzoo": ("modelzoo",),
}

PART_OF = {
    "botocore": "boto3", "pydantic": "fastapi", "pydantic_core": "fastapi", "starlette": "fastapi",
    "werkzeug": "flask",
}  # fmt: skip
"""What a package shows of another one as its own interface: that one cannot go without it."""


def pinned(*files: str) -> set[str]:
    """The names of the packages that requirements files ask for by themselves."""
    lines = [line for file in files for line in (ROOT / "requirements" / f"{file}.txt").read_text().splitlines()]
    return {re.split(r"[=\[ ]", line)[0].lower().replace("_", "-") for line in lines if line and line[0] != "#"}


@pytest.mark.parametrize("package", REQUIREMENTS)
def test_what_is_imported_is_pinned_and_not_there_by_luck(package: str) -> None:
    """What only comes along with another package goes with its next version."""
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()}
    names = (
        {
            name
            for module in modules(package)
            if "peers" not in module.parts  # they have an environment of their own
            for name in imported(ast.walk(ast.parse(module.read_text())))
        }
        - sys.stdlib_module_names
        - ours
    )
    known = packages_distributions()
    brought_by = {name: {each.lower().replace("_", "-") for each in known.get(name, [name])} for name in names}
    wanted = pinned(*REQUIREMENTS[package])
    wanted |= {name for name, whole in PART_OF.items() if whole in wanted}
    missing = {name for name, packages in brought_by.items() if not packages & wanted and name not in wanted}
    assert not {name for name in missing if not name.startswith("mypy_boto3")}  # for the type checker alone


def test_nothing_is_reported_to_the_makers_of_libraries() -> None:
    """OpenVINO's converter and NNCF would, and fork the process for it."""
    asked = (
        "import sys, modelzoo.convert, modelzoo.quantize, nncf, openvino.tools.ovc.utils as utils; "
        "import nncf.telemetry.wrapper as wrapper; "
        "print([name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module], "
        "utils.tm.__name__, type(wrapper.telemetry).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "openvino.tools.ovc.telemetry_stub", "MagicMock"]
