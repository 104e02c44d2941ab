"""C99."""

import shutil
import subprocess

import pytest
import torch

from convexp.deploy.formats import c_header
from convexp.deploy.formats.c_header import C
from convexp.deploy.programs import UnverifiedError

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) is installed")

CASES = {
    "valid": {"inputs": 3, "outputs": 2, "size": (5, 3)},
    "reflect": {"size": (5, 7), "padding": "same", "padding_mode": "reflect"},
    "replicate": {"inputs": 3, "size": (4, 2), "padding": "same", "padding_mode": "replicate", "scales": True},
    "zeros": {"outputs": 3, "padding": "same", "scales": True},
    "circular": {"inputs": 2, "outputs": 2, "groups": 2, "padding": "same", "padding_mode": "circular"},
}


@needs_compiler
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_it_is_what_the_model_does(case, make, write, reference):
    learned = make(**CASES[case])
    path = write("c", learned)
    with C.opened(learned, path) as opened:
        for size in ((17, 23), learned.least):
            image = learned.photo(most=size)
            output = opened.run(torch.cat([image, image / 2]))
            torch.testing.assert_close(output[0].double(), reference(learned, image[0]), rtol=0, atol=1e-5)
            torch.testing.assert_close(output[1].double(), reference(learned, image[0] / 2), rtol=0, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("case", ["valid", "zeros"])
def test_it_compiles_without_a_warning_as_c_and_in_two_files(case, make, write, tmp_path):
    learned = make(**CASES[case], name="sharpen=2,σ-single")
    path = write("c", learned)
    path.rename(tmp_path / "filter.h")
    for name in ("one", "two"):
        (tmp_path / f"{name}.c").write_text('#include "filter.h"\n#include "filter.h"\n')
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    sources = ["one.c", "two.c", "main.c"]
    done = subprocess.run(["cc", *strict, *sources, "-o", "main"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""


def test_its_names_are_those_of_c(make):
    text = c_header.source(make(name="../a b-*/σ"))
    assert "\nstatic inline void convexp_a_b(const float *image, int height, int width, float *output) {\n" in text
    assert text.count("*/") == 2
    assert text.isascii()
    assert "f," in text


def test_the_example_says_how_large_the_output_is(make, tmp_path):
    lines = C.example(make(size=(5, 3), outputs=2), tmp_path / "filter.h")
    assert lines[0] == '#include "filter.h"'
    assert lines[2] == "float output[2 * (HEIGHT - 4) * (WIDTH - 2)];"
    assert lines[3] == "convexp_sharpen_single(image, HEIGHT, WIDTH, output);"


def test_without_a_compiler_nothing_is_verified(make, write, compared, monkeypatch):
    learned = make()
    path = write("c", learned)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnverifiedError, match="no C compiler is installed"):
        compared("c", learned, path)
