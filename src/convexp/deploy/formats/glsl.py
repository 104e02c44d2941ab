"""GLSL: a fragment shader of OpenGL ES 3.0 and WebGL 2."""

import base64
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from convexp.deploy.formats.chromium import chromium
from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.formats.linear import border_in_words, kernel_of, lines_of, numbers, own_margin, refused
from convexp.deploy.learned import Learned
from convexp.deploy.programs import UnverifiedError
from convexp.deploy.single_kernel import SingleKernel
from convexp.errors import ConvexpError

MOST = 4096  # weights: compilers of shaders take no tables of any size
CHANNELS = 4  # of a texel

# The line of the image that stands for one outside.
LINES = {
    "reflect": "at = abs(at);\n    return at < length ? at : 2 * length - 2 - at;",
    "replicate": "return clamp(at, 0, length - 1);",
    "circular": "return (at + length) % length;",
}

PAGE = """<!DOCTYPE html><meta charset="utf-8"><pre id="answer">nothing was drawn</pre><script>
const answer = document.getElementById("answer");
function bytes(text) {{ return Uint8Array.from(atob(text), letter => letter.charCodeAt(0)); }}
function main() {{
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return "WebGL 2 is not there";
  if (!gl.getExtension("EXT_color_buffer_float")) return "it has no float textures to draw into";
  const program = gl.createProgram();
  const corners = `#version 300 es
    void main() {{ gl_Position = vec4(4 * (gl_VertexID & 1) - 1, 2 * (gl_VertexID & 2) - 1, 0, 1); }}`;
  for (const [kind, source] of [[gl.VERTEX_SHADER, corners],
                                [gl.FRAGMENT_SHADER, new TextDecoder().decode(bytes("{shader}"))]]) {{
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) return "refused: " + gl.getShaderInfoLog(shader);
    gl.attachShader(program, shader);
  }}
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return "refused: " + gl.getProgramInfoLog(program);
  gl.useProgram(program);
  function texture(width, height, data) {{
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, width, height, 0, gl.RGBA, gl.FLOAT, data);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return made;
  }}
  const drawn = texture({out_width}, {out_height}, null);
  texture({width}, {height}, new Float32Array(bytes("{image}").buffer));
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, drawn, 0);
  gl.viewport(0, 0, {out_width}, {out_height});
  gl.uniform1i(gl.getUniformLocation(program, "bottom_up"), {bottom_up});
  gl.drawArrays(gl.TRIANGLES, 0, 3);
  const pixels = new Float32Array({out_width} * {out_height} * 4);
  gl.readPixels(0, 0, {out_width}, {out_height}, gl.RGBA, gl.FLOAT, pixels);
  if (gl.getError()) return "WebGL error " + gl.getError();
  let text = "";
  const all = new Uint8Array(pixels.buffer);
  for (let at = 0; at < all.length; at += 8192) text += String.fromCharCode(...all.subarray(at, at + 8192));
  return "pixels " + btoa(text);
}}
try {{ answer.textContent = main(); }} catch (error) {{ answer.textContent = String(error); }}
</script>"""


def source(learned: Learned) -> str:
    """The shader."""
    kernel = kernel_of(learned)
    height, width = kernel.size
    count = kernel.kernel.numel()
    weights = "\n".join(f"    {line}" for line in lines_of(kernel)).rstrip(",")
    constants = ", ".join(numbers(kernel.constant))
    line = f"int line(int at, int length) {{\n    {LINES[str(kernel.border)]}\n}}\n\n" if _mapped(kernel) else ""
    mapped = "            at = ivec2(line(at.x, size.x), line(at.y, size.y));\n" if _mapped(kernel) else ""
    texel = "texelFetch(image, ivec2(at.x, bottom_up ? size.y - 1 - at.y : at.y), 0)"
    if kernel.border == "zeros":
        inside = "all(greaterThanEqual(at, ivec2(0))) && all(lessThan(at, size))"
        texel = f"{inside} ? {texel} : vec4({numbers([kernel.outside])[0]})"
    grown = " ".join(_grown(name, by) for name, by in zip(("height", "width"), kernel.growth, strict=True))
    result = {
        1: "vec4(vec3(sums[0]), 1.0)",
        2: "vec4(sums[0], sums[1], 0.0, 1.0)",
        3: "vec4(sums[0], sums[1], sums[2], 1.0)",
    }
    color = result.get(kernel.outputs, "vec4(sums[0], sums[1], sums[2], sums[3])")
    return f"""#version 300 es
// {_ascii(learned.name)}: a filter learned by convexp.
// image: {kernel.inputs} channels in [0, 1]; drawn: {grown}; border: {_ascii(border_in_words(kernel))}.
precision highp float;
precision highp int;

uniform highp sampler2D image;
uniform bool bottom_up;  // whether the texture begins with the image's last row, as with UNPACK_FLIP_Y_WEBGL
out vec4 color;

// outputs {kernel.outputs}, inputs {kernel.inputs}, rows {height}, columns {width}
const float KERNEL[{count}] = float[{count}](
{weights}
);
const float CONSTANT[{kernel.outputs}] = float[{kernel.outputs}]({constants});

{line}void main() {{
    ivec2 size = textureSize(image, 0);
    ivec2 place = ivec2(gl_FragCoord.xy);
    if (bottom_up) place.y = size.y{_signed(kernel.growth[0] - 1)} - place.y;
    float sums[{kernel.outputs}] = CONSTANT;
    for (int j = 0; j < {height}; j++)
        for (int k = 0; k < {width}; k++) {{
            ivec2 at = place + ivec2(k - {kernel.left}, j - {kernel.above});
{mapped}            vec4 texel = {texel};
            for (int o = 0; o < {kernel.outputs}; o++)
                for (int i = 0; i < {kernel.inputs}; i++)
                    sums[o] += KERNEL[((o * {kernel.inputs} + i) * {height} + j) * {width} + k] * texel[i];
        }}
    color = {color};
}}
"""


def _mapped(kernel: SingleKernel) -> bool:
    return str(kernel.border) in LINES


def _grown(name: str, by: int) -> str:
    return name if by == 0 else f"{name}{_signed(by)}"


def _signed(number: int) -> str:
    return f" {'-' if number < 0 else '+'} {abs(number)}"


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _refusal(learned: Learned) -> str | None:
    if learned.kernel is None:
        return refused(learned)
    kernel = learned.kernel
    if max(kernel.inputs, kernel.outputs) > CHANNELS:
        return f"it has {max(kernel.inputs, kernel.outputs)} channels, a texel {CHANNELS}"
    if kernel.kernel.numel() > MOST:
        return f"its kernel has {kernel.kernel.numel()} weights, more than the {MOST} that shaders are sure to take"
    return None


def _write(learned: Learned, path: Path) -> None:
    path.write_text(source(learned), encoding="ascii")


@contextmanager
def _opened(learned: Learned, path: Path) -> Generator[Opened, None, None]:
    kernel = kernel_of(learned)
    with chromium() as browser:

        def run(image: Tensor) -> Tensor:
            down = drawn(browser.text, path.read_bytes(), image[0], kernel, bottom_up=False)
            up = drawn(browser.text, path.read_bytes(), image[0].flip(1), kernel, bottom_up=True).flip(1)
            # Of the two ways to hold an image the answer that is further off is compared.
            own = kernel(image)[0]
            return max(down, up, key=lambda answer: float((answer - own).abs().max()))[None]

        yield Opened(f"WebGL of Chromium {browser.version}", run)


def drawn(text: object, shader: bytes, image: Tensor, kernel: SingleKernel, *, bottom_up: bool) -> Tensor:
    """What a shader draws of an image (I, H, W): (O, H', W').

    Args:
        text: `Chromium.text`.
        shader: The shader.
        image: (I, H, W).
        kernel: What the shader holds.
        bottom_up: Whether the image's first row is its last.

    Raises:
        UnverifiedError: If nothing is drawn.
        ConvexpError: If the shader is not understood.
    """
    assert callable(text)
    height, width = image.shape[1:]
    rows, columns = height + kernel.growth[0], width + kernel.growth[1]
    texels = nn.functional.pad(image, (0, 0, 0, 0, 0, CHANNELS - len(image))).permute(1, 2, 0).contiguous()
    page = PAGE.format(
        shader=base64.b64encode(shader).decode(),
        image=base64.b64encode(texels.numpy().tobytes()).decode(),
        height=height,
        width=width,
        out_height=rows,
        out_width=columns,
        bottom_up=int(bottom_up),
    )
    found = re.search(r'<pre id="answer">(.*?)</pre>', str(text(page)), re.DOTALL)
    answer = found[1] if found else "no answer"
    if answer.startswith("refused: "):
        raise ConvexpError(f"the shader is refused by Chromium: {' '.join(answer.split()[1:])[:200]}")
    if not answer.startswith("pixels "):
        raise UnverifiedError(f"Chromium runs no shader ({' '.join(answer.split())[:200]})")
    pixels = np.frombuffer(base64.b64decode(answer.removeprefix("pixels ")), np.float32).copy()
    return torch.from_numpy(pixels).view(rows, columns, CHANNELS).permute(2, 0, 1)[: kernel.outputs]


def _example(learned: Learned, path: Path) -> list[str]:
    kernel = kernel_of(learned)
    width, height = (
        _grown(f"photo.{name}", by) for name, by in zip(("width", "height"), kernel.growth[::-1], strict=True)
    )
    return [
        f"gl.shaderSource(shader, text);  // that of {path.name}; WebGL 2, one triangle over all",
        "gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, photo);  // filter gl.NEAREST",
        'gl.uniform1i(gl.getUniformLocation(program, "bottom_up"), true);  // with UNPACK_FLIP_Y_WEBGL',
        f"gl.viewport(0, 0, {width}, {height});",
        "gl.drawArrays(gl.TRIANGLES, 0, 3);",
    ]


GLSL = Format(
    name="glsl",
    suffix=".frag",
    what="a fragment shader of WebGL 2",
    values="float32",
    everywhere=False,
    refusal=_refusal,
    write=_write,
    opened=_opened,
    example=_example,
    margin=own_margin,
)
