"""What the README shows is run as it stands there, shrunk to two steps."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

from convexp import cli
from convexp.images import photograph, shapes, write_image
from convexp.operators import Template, gaussian_blur
from convexp.operators.verdict import verdict
from convexp.runs.config import checked
from convexp.runs.construction import build

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", README, flags=re.MULTILINE)
COMMANDS = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
# A snippet whose first line is a path is a file, any other a script.
FILES = {named[1]: text for _, text in BLOCKS if (named := re.match(r"# (\S+\.(?:py|yaml))\n", text))}
SCRIPTS = [text for language, text in BLOCKS if language == "python" and text not in FILES.values()]
FOLDER, TERMINAL = (text for language, text in BLOCKS if language == "text")

INSTALLING = ["pip install uv", "pip install -e ."]  # from the network; what they install, test_wheel.py builds
SMALL = ["data.size=64", "trainer.max_steps=2"]
(SHOWN_RUN,) = set(re.findall(r"outputs/edges_blur-deep/[\w-]+", README))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What the README's commands need: train.py, the files it shows, and a run, made by its first command."""
    clone = tmp_path_factory.mktemp("clone")
    shutil.copy(ROOT / "train.py", clone)
    for path, text in FILES.items():
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text, encoding="utf-8")
    (clone / "photos").mkdir()
    for number in range(2):
        image = shapes(101, 67 + number, seed=number)
        write_image(image, clone / f"photos/shapes{number or ''}.png")
        for folder, picture in {"before": image, "after": 1 - image}.items():
            (clone / folder).mkdir(exist_ok=True)
            write_image(picture, clone / folder / f"{number}.png")
    write_image(photograph("coffee"), clone / "before.png")
    write_image(gaussian_blur(photograph("coffee")[None], 9, 1.5, border="reflect")[0], clone / "after.png")
    runner, *words = shlex.split(COMMANDS[0].removeprefix("uv run "))
    subprocess.run([sys.executable, runner, *words, *SMALL], cwd=clone, check=True, timeout=300)
    (made,) = clone.glob("outputs/edges_blur-deep/*")
    made.rename(clone / SHOWN_RUN)
    return clone


@pytest.fixture
def here(clone, monkeypatch):
    monkeypatch.chdir(clone)
    monkeypatch.syspath_prepend(clone)  # as for any script
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    return clone


def train(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    runpy.run_path("train.py", run_name="__main__")


def finished_runs(clone):
    return set(clone.glob("outputs/**/metrics.json"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works(command, here, monkeypatch, capfd):
    before = finished_runs(here)
    match shlex.split(command, comments=True):
        case ["pip", "install", *_]:
            assert command in INSTALLING
        case ["uv", "run", "pytest"]:
            tests = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "src/convexp/runs/folder.py"]
            subprocess.run(tests, cwd=ROOT, check=True, timeout=300)  # one doctest that needs no torch
        case ["tensorboard", *words]:
            assert "comparison/coffee" in tensorboard_tags(words, here)
        case ["python", "train.py", resume] if resume.startswith("resume="):
            finished = here / SHOWN_RUN / "metrics.json"
            finished.unlink()
            train([resume], monkeypatch)
            assert finished.exists()
        case ["uv", "run", "train.py", *words] | ["python", "train.py", *words]:
            train([*words, *SMALL], monkeypatch)
            expected = 1 if "-m" not in words else 8 if "seed=range(2)" in words else 4
            assert len(finished_runs(here) - before) == expected
        case ["convexp", "filter", *_] as words:
            monkeypatch.setattr(sys, "argv", words)
            cli.main()
            assert (here / words[4]).exists() or (here / "edges-2-magnitude.png").exists()
        case ["convexp", "runs", folder, *_] as words:
            if not (here / folder).exists():  # the sweep is the command before, unless this one runs alone
                train(["-m", "sweep=rates", "model=single,deep", *SMALL], monkeypatch)
            monkeypatch.setattr(sys, "argv", words)
            cli.main()
        case ["convexp", "inspect", run] as words:
            monkeypatch.setattr(sys, "argv", words)
            cli.main()
            assert (here / run / "inspect/inspect.json").exists()
            shutil.rmtree(here / run / "inspect")  # what the run itself leaves is still to be looked at
            (*_, events) = (here / run).glob("*.inspect")
            events.unlink()
        case ["convexp", "identify", *_] as words:
            monkeypatch.setattr(sys, "argv", words)
            cli.main()
            assert "through Gaussian blur, σ = 1.50000 ± 0.0001" in capfd.readouterr().out
        case ["convexp", "apply" | "evaluate" | "export", *_] as words:
            monkeypatch.setattr(sys, "argv", words)
            cli.main()
            left = {
                "apply": "filtered/shapes.png",
                "export": f"{SHOWN_RUN}/export/edges_blur-deep.pt2",
                "evaluate": ".",
            }
            assert (here / left[words[1]]).exists()
            shutil.rmtree(here / SHOWN_RUN / "export", ignore_errors=True)  # what the run itself leaves is looked at
        case _:
            pytest.fail(f"README.md shows {command!r}, and no test knows how to run it")


def tensorboard_tags(words, clone):
    """What a TensorBoard server with this command line says of its pictures."""
    program = [Path(sys.executable).with_name("tensorboard"), *words, "--port", "0"]
    deadline = time.monotonic() + 100
    with subprocess.Popen(program, cwd=clone, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://localhost:\d+/", line)))
            tags = "{}"
            while tags.strip() == "{}" and time.monotonic() < deadline:  # it answers before it has read the events
                time.sleep(0.5)
                with urllib.request.urlopen(f"{address}data/plugin/images/tags", timeout=30) as answer:
                    tags = answer.read().decode()
            return tags
        finally:
            server.kill()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_works(script, here):
    names = {}
    exec(script, names)
    results = [value for value in names.values() if isinstance(value, torch.Tensor)]
    assert results
    assert all(result.isfinite().all() for result in results)


def test_the_terminal_shows_what_the_readme_does(here, monkeypatch, capfd):
    train(["experiment=notebook_highpass"], monkeypatch)
    shown = without_seconds(capfd.readouterr().out).splitlines()
    promised = without_seconds(TERMINAL).splitlines()
    promised.remove("  …")
    assert [line for line in shown if line in promised] == promised


def without_seconds(text):
    return re.sub(r"[\d.e-]+ s\b", "… s", text)


def test_a_run_leaves_what_is_shown(clone):
    folder = clone / SHOWN_RUN
    shown = [line.split()[0] for line in FOLDER.splitlines()]
    left = {path for path in folder.rglob("*") if path.is_file()}
    assert left == {path for name in shown for path in folder.glob(name)}
    assert all(list(folder.glob(name)) for name in shown)


def test_every_block_is_run():
    assert {language for language, _ in BLOCKS} == {"bash", "python", "yaml", "text"}
    assert len(BLOCKS) == README.count("\n```") / 2
    assert all(text in FILES.values() for language, text in BLOCKS if language == "yaml")


@pytest.mark.parametrize(
    "command",
    [
        "uv run train.py model=deep target=edges_blur",
        "uv run pytest",
        "pip install -e .",
        "python train.py model=deep target=edges_blur",
        "python train.py -m model=single,deep optimizer.lr=1e-3,1e-2",
        "tensorboard --logdir outputs --samples_per_plugin images=1000",
    ],
)
def test_a_promised_command_is_shown(command):
    assert command in [shown.partition("  #")[0].rstrip() for shown in COMMANDS]


def test_the_tests_run_as_the_readme_says():
    assert "step uv run pytest\n" in (ROOT / ".ci/run").read_text()


WORDS = {"linear": "one kernel", "pointwise": "a small non-linearity", "local": "a local stack", "global": "global: "}
OPERATORS = re.findall(r"^\| (`.*`) \| .* \| (.*) \|$", README.partition("## Operators")[2].partition("\n## ")[0], re.M)
TAKES = {target: words for targets, words in OPERATORS for target in re.findall(r"`(\w+)`", targets)}
MISSING = {"kernel": ["target.kernel=sobel_x"]}


def test_every_operator_is_shown():
    assert set(TAKES) == {path.stem for path in (ROOT / "configs/target").glob("*.yaml")} - {"examples"}
    assert f"another of [{len(TAKES)} operators](#operators)" in README


@pytest.mark.parametrize("target", TAKES)
def test_what_an_operator_takes_is_found_by_experiment(target):
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = checked(compose("train", [f"target={target}", *MISSING.get(target, [])]))
    operator = build(config["target"], "target")
    if isinstance(operator, Template):
        operator.cut(photograph("chelsea"))
    found = verdict(operator, in_channels=3)
    assert TAKES[target].startswith(WORDS[found.kind])
    assert found.mixes == ("mixes the colours" in TAKES[target])
    if not found.mixes:  # and of a gray image
        assert verdict(operator, in_channels=1).kind == found.kind


def test_every_choice_is_shown():
    for group in (
        path
        for path in (ROOT / "configs").iterdir()
        if path.is_dir() and path.name not in ("hydra", "search", "target")
    ):
        if choices := {path.stem for path in group.glob("*.yaml")}:
            (row,) = re.findall(rf"^\| `{group.name}`.*?\|(.*)\|$", README, flags=re.MULTILINE)
            assert choices <= set(re.findall(r"`(\w+)`", row))


def test_every_link_leads_somewhere():
    links = [link for link in re.findall(r"\]\((.*?)\)", README) if not link.startswith("http")]
    assert "scripts/readme.jpg" in links
    headings = {
        f"#{heading.lower().replace(' ', '-')}" for heading in re.findall(r"^#+ (.*)$", README, flags=re.MULTILINE)
    }
    assert all((ROOT / link).is_file() or link in headings for link in links)
    assert (ROOT / "scripts/readme.jpg").stat().st_size < 300_000
