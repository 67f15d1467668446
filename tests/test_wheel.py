"""What a wheel holds, and that it works without the repository."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, environment

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_named():
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "sasa").rglob("__init__.py")}
    assert set(SETTINGS["packages"]) == found | set(SETTINGS["package-dir"])


@pytest.mark.slow
def test_an_installed_sasa_needs_no_repository(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    files = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if files.returncode:
        pytest.skip("no repository")
    for name in files.stdout.split("\0"):
        if (
            name.startswith(("sasa/", "conf/", "experiments/", "pyproject", "README", "LICENSE"))
            and (ROOT / name).exists()
        ):
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "source" / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools.build_meta import build_wheel; build_wheel('..')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "source", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("sasa-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    variables = environment(PYTHONPATH=str(tmp_path / "installed"), PYTHONSAFEPATH="1")
    (names,) = (tmp_path / "installed").glob("sasa-*.dist-info/entry_points.txt")
    module, function = re.search(r"^sasa = ([\w.]+):(\w+)$", names.read_text(), re.M).groups()
    (tmp_path / "sasa").write_text(  # as pip writes it
        f"import sys, sasa; from {module} import {function}; print(sasa.__file__, file=sys.stderr); sys.exit({function}())"
    )
    for words, expected in (
        (["--help"], "  sasa table3=conv1 "),
        (["backbone=resnet26", "data.size=32", "data.train_images=64", "data.test_images=16", "train.epochs=1",
          "train.warmup_epochs=0", "tracker=none"], "sasa -m 'table5=glob(*)' "),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "sasa", *words], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert str(tmp_path / "installed") in done.stderr
        assert expected in done.stdout
        assert not re.search(r"run\.py|\bmake \w", done.stdout)
    assert len(list((tmp_path / "outputs").glob("run/*/weights.safetensors"))) == 1
    for folder in (tmp_path / "installed" / "sasa" / "experiments").iterdir():
        if folder.name != "table5":  # all rows take half a minute
            shutil.rmtree(folder)
    done = subprocess.run(
        [sys.executable, "-m", "sasa.cost"], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Table 5: positional encoding" in done.stdout
