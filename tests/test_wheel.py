"""The wheel, installed elsewhere, runs as the working tree does."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "src", "configs")

pytestmark = pytest.mark.slow


def done(*command, cwd):
    # PYTHONPATH would put the working tree before the installed package.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools writes beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    done(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new environment that holds the wheel, and sees the dependencies of this one: nothing is downloaded."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    python = place / "bin/python"
    done(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=place)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return place / "bin"


def test_the_wheel_holds_every_config_and_the_licence(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    yamls = {
        f"convexp/configs/{path.relative_to(ROOT / 'configs').as_posix()}" for path in ROOT.glob("configs/**/*.yaml")
    }
    modules = {path.relative_to(ROOT / "src").as_posix() for path in ROOT.glob("src/**/*.py")}
    assert yamls
    assert not (yamls | modules) - inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not any(name.startswith(("tests", "scripts", "outputs")) for name in inside)


def test_it_is_the_wheel_that_runs(environment, tmp_path):
    found = done(environment / "python", "-c", "import convexp; print(convexp.__file__)", cwd=tmp_path)
    assert Path(found).is_relative_to(environment.parent)


def test_help_from_another_directory(environment, tmp_path):
    assert "edges_blur" in done(environment / "convexp", "train", "--help", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_training_from_another_directory(environment, tmp_path):
    words = ["train", "data=shapes", "data.size=64", "trainer.max_steps=2"]
    assert "tensorboard --logdir outputs" in done(environment / "convexp", *words, cwd=tmp_path)
    (metrics,) = tmp_path.glob("outputs/highpass-single/*/metrics.json")
    assert json.loads(metrics.read_text())["steps"] == 2
