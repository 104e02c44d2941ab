"""C99: a header with the kernel and a function that applies it."""

import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.formats.linear import border_in_words, kernel_of, lines_of, numbers, own_margin, refused
from convexp.deploy.learned import Learned
from convexp.deploy.programs import execute, find_program
from convexp.deploy.single_kernel import SingleKernel

# The line of the image that stands for one outside; -1 for none.
LINES = {
    None: "return at;",
    "reflect": "return at < 0 ? -at : at < length ? at : 2 * length - 2 - at;",
    "replicate": "return at < 0 ? 0 : at < length ? at : length - 1;",
    "zeros": "return at < length ? at : -1;",
    "circular": "return at < 0 ? at + length : at < length ? at : at - length;",
}

MAIN = """#include <stdio.h>
#include <stdlib.h>
#include "{header}"

int main(int count, char **words) {{
    int height = atoi(words[1]), width = atoi(words[2]);
    size_t pixels = (size_t)height * width * {inputs};
    size_t made = (size_t)(height + {rows}) * (width + {columns}) * {outputs};
    float *image = malloc(pixels * sizeof *image), *output = malloc(made * sizeof *output);
    FILE *in = fopen("in.raw", "rb"), *out = fopen("out.raw", "wb");
    if (count != 3 || !image || !output || !in || !out || fread(image, sizeof *image, pixels, in) != pixels) return 1;
    {name}(image, height, width, output);
    return fwrite(output, sizeof *output, made, out) != made || fclose(out);
}}
"""


def identifier(learned: Learned) -> str:
    """The filter's name as C has it.

    >>> from torch import nn
    >>> identifier(Learned(nn.Identity(), "sharpen-single", 1, 1, (1, 1), (1, 1), (0, 0), ()))
    'convexp_sharpen_single'
    """
    return "convexp_" + re.sub(r"[^A-Za-z0-9]+", "_", learned.name).strip("_")


def source(learned: Learned) -> str:
    """The header."""
    kernel, name = kernel_of(learned), identifier(learned)
    height, width = kernel.size
    weights = "\n".join(f"    {line}" for line in lines_of(kernel, "f"))
    outside = f"row < 0 || column < 0 ? {numbers([kernel.outside], 'f')[0]} : " if kernel.border == "zeros" else ""
    sizes = f"(height{_plus(kernel.growth[0])}) x (width{_plus(kernel.growth[1])})"
    words = border_in_words(kernel) + ("" if kernel.exact_border else "; at the border the run differs")
    # Not before C11 may a constant array of arrays be handed on, so that it is flat.
    return f"""/* {_comment(learned.name)}: a filter learned by convexp.
   image: {kernel.inputs} planes of height x width floats in [0, 1], row by row; at least {_size(learned.least)}.
   output: {kernel.outputs} planes of {sizes} floats, which the caller owns.
   border: {words}. */
#ifndef {name.upper()}_H
#define {name.upper()}_H

/* outputs {kernel.outputs}, inputs {kernel.inputs}, rows {height}, columns {width} */
static const float {name}_kernel[{kernel.kernel.numel()}] = {{
{weights}
}};
static const float {name}_constant[{kernel.outputs}] = {{{", ".join(numbers(kernel.constant, "f"))}}};

static inline int {name}_line(int at, int length) {{
    {"(void)length; " if kernel.border is None else ""}{LINES[kernel.border]}
}}

static inline void {name}(const float *image, int height, int width, float *output) {{
    for (int o = 0; o < {kernel.outputs}; o++)
        for (int y = 0; y < height{_plus(kernel.growth[0])}; y++)
            for (int x = 0; x < width{_plus(kernel.growth[1])}; x++) {{
                const float *weight = {name}_kernel + o * {kernel.inputs * height * width};
                float sum = {name}_constant[o];
                for (int i = 0; i < {kernel.inputs}; i++)
                    for (int j = 0; j < {height}; j++) {{
                        int row = {name}_line(y + j - {kernel.above}, height);
                        for (int k = 0; k < {width}; k++) {{
                            int column = {name}_line(x + k - {kernel.left}, width);
                            sum += *weight++ * ({outside}image[((long)i * height + row) * width + column]);
                        }}
                    }}
                *output++ = sum;
            }}
}}

#endif
"""


def _plus(grown: int) -> str:
    return f" {'-' if grown < 0 else '+'} {abs(grown)}" if grown else ""


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _comment(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("*/", "* /")


def _write(learned: Learned, path: Path) -> None:
    path.write_text(source(learned), encoding="ascii")


@contextmanager
def _opened(learned: Learned, path: Path) -> Generator[Opened, None, None]:
    kernel = kernel_of(learned)
    compiler = find_program("cc", "gcc", "clang", what="C compiler")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "filter.h").write_bytes(path.read_bytes())
        (folder / "main.c").write_text(_main(learned, kernel), encoding="ascii")
        execute([compiler, "-std=c99", "-O2", "-o", "filter", "main.c"], folder)

        def run(images: Tensor) -> Tensor:
            rows, columns = (side + grown for side, grown in zip(images.shape[2:], kernel.growth, strict=True))
            outputs: list[Tensor] = []
            for image in images:
                (folder / "in.raw").write_bytes(image.contiguous().numpy().tobytes())
                execute([str(folder / "filter"), str(image.shape[1]), str(image.shape[2])], folder)
                output = np.fromfile(folder / "out.raw", np.float32)
                outputs.append(torch.from_numpy(output).view(kernel.outputs, rows, columns))
            return torch.stack(outputs)

        yield Opened(f"a program compiled by {Path(compiler).name} -std=c99 -O2", run)


def _main(learned: Learned, kernel: SingleKernel) -> str:
    rows, columns = kernel.growth
    return MAIN.format(
        header="filter.h",
        name=identifier(learned),
        inputs=kernel.inputs,
        outputs=kernel.outputs,
        rows=rows,
        columns=columns,
    )


def _example(learned: Learned, path: Path) -> list[str]:
    kernel, name = kernel_of(learned), identifier(learned)
    sides = zip(("HEIGHT", "WIDTH"), kernel.growth, strict=True)
    rows, columns = (f"({side}{_plus(grown)})" if grown else side for side, grown in sides)
    return [
        f'#include "{path.name}"',
        f"float image[{kernel.inputs} * HEIGHT * WIDTH];  /* planes, values in [0, 1] */",
        f"float output[{kernel.outputs} * {rows} * {columns}];",
        f"{name}(image, HEIGHT, WIDTH, output);",
    ]


C = Format(
    name="c",
    suffix=".h",
    what="a header of C99",
    values="float32",
    everywhere=True,
    refusal=refused,
    write=_write,
    opened=_opened,
    example=_example,
    margin=own_margin,
)
