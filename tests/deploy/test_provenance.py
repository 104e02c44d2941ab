import pytest

from convexp.deploy.provenance import NOTE, note_provenance, provenance
from convexp.errors import ConvexpError


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    return path


def test_the_same_weights_and_border_go_on(tmp_path, weights):
    made_by = provenance(weights, border="reflect", gray=False)
    for _ in range(2):
        note_provenance(tmp_path / "out", made_by, overwrite=False)


@pytest.mark.parametrize("other", [{"border": None, "gray": False}, {"border": "reflect", "gray": True}])
def test_others_do_not(tmp_path, weights, other):
    note_provenance(tmp_path / "out", provenance(weights, border="reflect", gray=False), overwrite=False)
    changed = provenance(weights, **other)
    with pytest.raises(
        ConvexpError, match="out holds what another run, or another border, has made; name another folder"
    ):
        note_provenance(tmp_path / "out", changed, overwrite=False)
    weights.write_bytes(b"other weights")
    with pytest.raises(ConvexpError, match="holds what another run"):
        note_provenance(tmp_path / "out", provenance(weights, border="reflect", gray=False), overwrite=False)
    note_provenance(tmp_path / "out", changed, overwrite=True)
    note_provenance(tmp_path / "out", changed, overwrite=False)


def test_a_damaged_note_is_written_anew(tmp_path, weights):
    (tmp_path / NOTE).write_bytes(b"\xff{")
    made_by = provenance(weights, border=None, gray=False)
    note_provenance(tmp_path, made_by, overwrite=False)
    with pytest.raises(ConvexpError):
        note_provenance(tmp_path, provenance(weights, border="zeros", gray=False), overwrite=False)


def test_a_folder_that_cannot_be(tmp_path, weights):
    with pytest.raises(ConvexpError, match=r"cannot be written into \(Not a directory\)"):
        note_provenance(weights / "out", provenance(weights, border=None, gray=False), overwrite=False)
