"""Lists between their upload and their submission."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from gateway.batches.uploads import KEPT_S, MAX_UPLOADS, Uploads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


def test_a_list_is_kept_for_its_user_alone_and_read_from_its_start(folder: Path) -> None:
    content = b"a@example.com\n" * 20_000
    token = Uploads(folder).save(io.BytesIO(content))
    other = Uploads(folder)  # of another process
    assert other.has(token)
    for _ in range(2):
        assert b"".join(other.chunks(token)) == content
    assert stat.S_IMODE((folder / token).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    other.remove(token)
    assert not Uploads(folder).has(token)


def test_old_lists_and_too_many_make_room(folder: Path) -> None:
    uploads = Uploads(folder)
    first = uploads.save(io.BytesIO(b"1"))
    os.utime(folder / first, (0, (folder / first).stat().st_mtime - KEPT_S - 1))
    tokens = [uploads.save(io.BytesIO(b"2")) for _ in range(MAX_UPLOADS + 5)]
    assert not uploads.has(first)
    assert uploads.has(tokens[-1])
    assert len(list(folder.iterdir())) == MAX_UPLOADS


@pytest.mark.parametrize("token", ["", "x", "../../etc/passwd", "0" * 31, "0" * 33, "G" * 32])
def test_no_other_name_is_a_token(folder: Path, token: str) -> None:
    folder.mkdir(mode=0o700)
    (folder / "x").write_text("secret")
    uploads = Uploads(folder)
    assert not uploads.has(token)
    uploads.remove(token)
    assert (folder / "x").exists()


def test_a_folder_that_others_can_read_is_not_used(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(PermissionError):
        Uploads(folder).save(io.BytesIO(b"1"))
