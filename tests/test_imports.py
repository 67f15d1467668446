"""Who may import whom: the layers of the design."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sasa"


def imports(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def using(folder: str, *forbidden: str) -> list[str]:
    """Files of a part of the package that import what they may not."""
    return [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for name in imports(path)
        if name.split(".")[0] in forbidden or any(name == f or name.startswith(f"{f}.") for f in forbidden)
    ]


def test_hydra_is_known_to_one_module():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "hydra" in {n.split(".")[0] for n in imports(path)}
    }
    assert users == {"config/compose.py"}


def test_the_operation_and_the_layers_know_no_configuration():
    for folder in ("ops", "nn"):
        assert using(folder, "sasa.config", "omegaconf", "hydra", "sasa.train", "sasa.models", "sasa.data") == []


def test_training_and_report_meet_at_files():
    assert using("train", "sasa.report") == []
    assert using("report", "sasa.train", "sasa.models", "sasa.nn", "sasa.ops", "sasa.data", "torch", "timm") == []


@pytest.mark.parametrize("module", ["sasa.report.__main__", "sasa.config.compose", "sasa.record"])
def test_what_must_start_fast_does_not_load_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'timm' in sys.modules or 'wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
