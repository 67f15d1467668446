"""Who may import whom: the layers of the design."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sasa"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {part for part in parts if part in MODULES} or {node.module}
    return names


def using(folder: str, *forbidden: str) -> list[str]:
    """Files of a part of the package that import what they may not."""
    return [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for name in imports(path)
        if name.split(".")[0] in forbidden or any(name == f or name.startswith(f"{f}.") for f in forbidden)
    ]


def test_hydra_is_known_to_the_configuration_alone():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "hydra" in {n.split(".")[0] for n in imports(path)}
    }
    assert users == {"config/compose.py", "config/overrides.py", "config/rows.py"}


def test_the_operation_and_the_layers_know_no_configuration():
    for folder in ("ops", "nn"):
        assert using(folder, "sasa.config", "omegaconf", "hydra", "sasa.train", "sasa.models", "sasa.data") == []


def test_records_and_the_configuration_know_no_torch():
    for folder in ("config", "records"):
        assert using(folder, "torch", "timm", "sasa.train", "sasa.models", "sasa.data", "sasa.report") == []
    assert using("config", "sasa.records") == []
    assert using("records", "hydra", "sasa.config.compose") == []


def test_nothing_imports_in_a_circle():
    """Imports inside functions count too."""
    graph = {name: imports(path) & MODULES.keys() for name, path in MODULES.items()}
    tuple(TopologicalSorter(graph).static_order())  # CycleError names one


def test_an_import_inside_a_function_has_its_reason_beside_it():
    bare = []
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text().splitlines()
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                inner = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
                rows = {node.lineno - 1 for node in inner}
                first = [row for row in rows if row - 1 not in rows]
                bare += [
                    f"{path.relative_to(PACKAGE)}:{row + 1}" for row in first if "#" not in lines[row] + lines[row - 1]
                ]
    assert bare == []


def test_a_name_with_an_underscore_belongs_to_a_class():
    hidden = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.strip("_") and node.name[0] == "_"
    ]
    assert hidden == []


def test_training_and_report_meet_at_files():
    assert using("train", "sasa.report") == []
    assert using("report", "sasa.train", "sasa.models", "sasa.nn", "sasa.ops", "sasa.data", "torch", "timm") == []


@pytest.mark.parametrize(
    "module", ["sasa.report.__main__", "sasa.config.compose", "sasa.records.folder", "sasa.command"]
)
def test_what_must_start_fast_does_not_load_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'timm' in sys.modules or 'wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
