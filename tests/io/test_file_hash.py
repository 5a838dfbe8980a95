"""A file that has not changed is hashed once; one that has is hashed again, whatever its clock says."""

import hashlib
import os
from pathlib import Path

import pytest

from bige_opensim.io import file_hash
from bige_opensim.io.file_hash import file_sha256


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths in the order in which they were read, in a world where every file has settled."""
    seen: list[Path] = []
    digest = file_hash._digest
    monkeypatch.setattr(file_hash, "_digest", lambda path: (seen.append(path), digest(path))[1])
    monkeypatch.setattr(file_hash, "SETTLED_S", 0.0)
    file_hash._kept.cache_clear()
    return seen


def test_an_unchanged_file_is_read_once(reads, tmp_path):
    path = tmp_path / "model.osim"
    path.write_bytes(b"model")
    assert {file_sha256(path) for _ in range(3)} == {hashlib.sha256(b"model").hexdigest()}
    assert len(reads) == 1


def test_a_file_of_the_same_size_and_time_of_change_is_read_again(reads, tmp_path):
    path = tmp_path / "model.osim"
    path.write_bytes(b"model")
    before, first = path.stat(), file_sha256(path)
    path.write_bytes(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert file_sha256(path) == hashlib.sha256(b"other").hexdigest() != first


def test_a_file_that_was_just_written_is_not_remembered(reads, tmp_path, monkeypatch):
    monkeypatch.setattr(file_hash, "SETTLED_S", 60.0)
    path = tmp_path / "model.osim"
    path.write_bytes(b"model")
    file_sha256(path), file_sha256(path)
    assert len(reads) == 2


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(OSError, match="gone"):
        file_sha256(tmp_path / "gone")
