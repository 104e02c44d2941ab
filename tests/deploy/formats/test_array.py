"""NumPy arrays of a kernel and a constant."""

import numpy as np
import pytest
import torch

from convexp.deploy.formats.array import NPY
from convexp.errors import ConvexpError
from convexp.images import write_image

CASES = {
    "valid": {"size": (5, 3)},
    "reflect": {"inputs": 3, "outputs": 2, "size": (5, 7), "padding": "same", "padding_mode": "reflect"},
    "replicate": {"inputs": 3, "size": (4, 3), "padding": "same", "padding_mode": "replicate", "scales": True},
    "zeros": {"outputs": 3, "size": (3, 5), "padding": "same", "scales": True, "bias": False},
    "circular": {"inputs": 4, "outputs": 2, "groups": 2, "padding": "same", "padding_mode": "circular"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_it_is_what_the_model_does(case, make, write, compared, reference):
    learned = make(**CASES[case])
    path = write("npy", learned)
    kernel = np.load(path, allow_pickle=False)
    assert kernel.dtype == np.float32
    assert kernel.shape == (learned.outputs, learned.inputs, *CASES[case].get("size", (3, 3)))
    comparison = compared("npy", learned, path)
    assert comparison.error < 1e-5
    assert comparison.margin == (0, 0)
    image = learned.photo(most=(17, 23))
    with NPY.opened(learned, path) as opened:
        torch.testing.assert_close(opened.run(image)[0].double(), reference(learned, image[0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["valid", "reflect", "zeros"])
def test_the_printed_lines_run(case, make, write, tmp_path, monkeypatch):
    learned = make(**CASES[case])
    path = write("npy", learned)
    monkeypatch.chdir(tmp_path)
    image = learned.photo(most=(17, 23))[0] if learned.inputs in (1, 3) else None
    write_image(image, "photo.png")
    lines = NPY.example(learned, path)
    assert len(lines) <= 6
    names = {}
    exec("\n".join(lines), names)
    torch.testing.assert_close(torch.from_numpy(names["output"]), learned.model(image[None])[0], rtol=0, atol=1e-5)


def test_the_constant_is_a_second_file_and_none_of_another_kernel_stays(make, write, tmp_path):
    for learned in (make(outputs=3), make(outputs=3, bias=False)):
        write("npy", learned)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["sharpen-single-constant.npy", "sharpen-single.npy"]
        constant = np.load(tmp_path / "sharpen-single-constant.npy", allow_pickle=False)
        assert constant.tolist() == ([0.0] * 3 if learned.model.bias is None else learned.model.bias.tolist())


def test_a_turned_kernel_is_found_out(make, write, compared):
    learned = make()
    path = write("npy", learned)
    np.save(path, np.load(path)[..., ::-1, ::-1])
    with pytest.raises(
        ConvexpError, match=r"npy: run by NumPy \S+, it differs from the run by 0\.\d+ on coffee \(400×600\), row \d+, "
    ):
        compared("npy", learned, path)
