"""Fragment shaders, in the WebGL of Chromium."""

import re
import shutil

import pytest
import torch

from convexp.deploy.formats import glsl
from convexp.deploy.formats.chromium import NAMES, chromium
from convexp.deploy.formats.glsl import GLSL, drawn, source
from convexp.deploy.programs import UnverifiedError
from convexp.errors import ConvexpError


def test_the_weights_are_there_in_the_order_of_memory(make):
    learned = make(inputs=3, outputs=2, size=(3, 5))
    table = re.search(r"KERNEL\[90\] = float\[90\]\((.*?)\);", source(learned), re.DOTALL)[1]
    numbers = torch.tensor([float(number) for number in table.split(",")])
    assert numbers.equal(learned.model.weight.flatten())
    assert all("." in number or "e" in number for number in table.split(","))  # GLSL has no integers as floats


def test_what_it_cannot_hold(make):
    assert GLSL.refusal(make(inputs=5)) == "it has 5 channels, a texel 4"
    assert GLSL.refusal(make(inputs=3, outputs=3, size=(23, 23))).startswith("its kernel has 4761 weights, more than")
    assert GLSL.refusal(make(inputs=3, outputs=3)) is None


def test_its_answers():
    def page(answer):
        return lambda text: f'<html><pre id="answer">{answer}</pre>'

    class Kernel:
        growth, outputs = (0, 0), 1

    image = torch.rand(1, 3, 5)
    with pytest.raises(ConvexpError, match=r"the shader is refused by Chromium: 0:3: 'texel' : syntax error"):
        drawn(page("refused: 0:3: 'texel' : syntax error"), b"", image, Kernel, bottom_up=False)
    with pytest.raises(UnverifiedError, match=r"Chromium runs no shader \(WebGL 2 is not there\)"):
        drawn(page("WebGL 2 is not there"), b"", image, Kernel, bottom_up=False)
    with pytest.raises(UnverifiedError, match=r"\(no answer\)"):
        drawn(lambda text: "", b"", image, Kernel, bottom_up=False)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="Chromium is not installed")
def test_chromium_does_what_the_model_does(make, reference):
    with chromium() as browser:
        for arguments in (
            {"inputs": 3, "outputs": 2, "padding": "same", "padding_mode": "reflect", "size": (5, 3)},
            {"outputs": 3, "padding": "same", "scales": True},
        ):
            learned = make(**arguments)
            image = learned.photo(most=(17, 23))[0]
            shader = source(learned).encode()
            try:
                down = drawn(browser.text, shader, image, learned.kernel, bottom_up=False)
            except UnverifiedError as reason:
                pytest.skip(str(reason))
            up = drawn(browser.text, shader, image.flip(1), learned.kernel, bottom_up=True).flip(1)
            expected = reference(learned, image).float()
            torch.testing.assert_close(down, expected, rtol=0, atol=1e-5)
            torch.testing.assert_close(up, expected, rtol=0, atol=1e-5)
        with pytest.raises(ConvexpError, match="the shader is refused by Chromium: "):
            drawn(browser.text, shader.replace(b"texelFetch", b"fetch"), image, learned.kernel, bottom_up=False)


def test_both_ways_to_hold_an_image_are_compared(make, write, compared, monkeypatch):
    learned = make()
    path = write("glsl", learned)
    ways = []

    def fake(text, shader, image, kernel, *, bottom_up):
        ways.append(bottom_up)
        upright = image.flip(1) if bottom_up else image
        return kernel(upright[None])[0].float()  # which is not turned back

    class Browser:
        version, text = "0", None

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(glsl, "drawn", fake)
    monkeypatch.setattr(glsl, "chromium", Browser)
    with pytest.raises(ConvexpError, match="glsl: run by WebGL of Chromium 0, it differs from the run by "):
        compared("glsl", learned, path)
    assert ways == [False, True]
