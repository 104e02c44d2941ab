import pickle

import pytest

from convexp.errors import ConvexpError
from convexp.images.files import read_image


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("größer als 3×3: “a b”", "größer als 3×3: “a b”"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\u202egnp.a", r"\u202egnp.a"),  # which a terminal would show from right to left
        ("a\udcff.png", r"a\udcff.png"),  # a byte that is no letter, as Python keeps it in a name
    ],
)
def test_a_message_is_one_line_without_signs_that_control(message, shown):
    error = ConvexpError(message)
    assert str(error) == shown
    assert str(pickle.loads(pickle.dumps(error))) == shown


def test_the_name_of_a_file_is_shown_in_one_line(tmp_path):
    path = tmp_path / "holi\nday\x1b[2J.png"
    path.write_bytes(b"no image")
    with pytest.raises(ConvexpError, match=r"/holi\\nday\\x1b\[2J\.png is no image"):
        read_image(path)
