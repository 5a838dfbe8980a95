"""A file that has not changed is hashed once; one that has is hashed again, whatever its clock says."""

import hashlib
import os
from pathlib import Path

import pytest

from bige_opensim.io import file_hash
from bige_opensim.io.documents import read_json
from bige_opensim.io.file_hash import file_sha256, read_bytes
from bige_opensim.io.storage import StorageError, read_storage


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths in the order in which they were read, in a world where every file has settled."""
    seen: list[Path] = []
    read = file_hash._read
    monkeypatch.setattr(file_hash, "_read", lambda path: (seen.append(path), read(path))[1])
    monkeypatch.setattr(file_hash, "SETTLED_S", 0.0)
    monkeypatch.setattr(file_hash, "_HASHES", {})
    return seen


def test_an_unchanged_file_is_read_once(reads, tmp_path):
    path = tmp_path / "model.osim"
    path.write_bytes(b"model")
    assert {file_sha256(path) for _ in range(3)} == {hashlib.sha256(b"model").hexdigest()}
    assert len(reads) == 1


@pytest.mark.parametrize(("name", "read"), [("a.json", read_json), ("a.mot", read_storage), ("a.bin", read_bytes)])
def test_a_file_whose_content_was_read_is_not_read_for_its_hash(reads, tmp_path, name, read):
    path = tmp_path / name
    path.write_bytes(b"{}" if name == "a.json" else b"a\nendheader\ntime\tq\n0\t1\n1\t2\n")
    read(path)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(reads) == 1


def test_a_file_that_cannot_be_parsed_is_hashed_all_the_same(reads, tmp_path):
    path = tmp_path / "broken.mot"
    path.write_bytes(b"\0binary")
    with pytest.raises(StorageError):
        read_storage(path)
    assert file_sha256(path) == hashlib.sha256(b"\0binary").hexdigest()


def test_a_file_of_the_same_size_and_time_of_change_is_read_again(reads, tmp_path):
    path = tmp_path / "model.osim"
    path.write_bytes(b"model")
    before, first = path.stat(), file_sha256(path)
    path.write_bytes(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert file_sha256(path) == hashlib.sha256(b"other").hexdigest() != first


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(file_hash, "SETTLED_S", 0.0)
    path = tmp_path / "model.osim"
    path.write_bytes(b"model")
    read = Path.read_bytes

    def meanwhile(self: Path) -> bytes:
        content = read(self)
        self.write_bytes(b"another")
        return content

    monkeypatch.setattr(Path, "read_bytes", meanwhile)
    assert read_bytes(path) == b"model"
    monkeypatch.setattr(Path, "read_bytes", read)
    assert file_sha256(path) == hashlib.sha256(b"another").hexdigest()


def test_a_file_that_was_just_written_is_not_remembered(reads, tmp_path, monkeypatch):
    monkeypatch.setattr(file_hash, "SETTLED_S", 60.0)
    path = tmp_path / "model.osim"
    path.write_bytes(b"model")
    file_sha256(path), file_sha256(path)
    assert len(reads) == 2


def test_no_more_than_so_many_hashes_are_kept(reads, tmp_path, monkeypatch):
    monkeypatch.setattr(file_hash, "MOST", 2)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode())
        file_sha256(path)
    assert len(file_hash._HASHES) == 2
    assert file_sha256(paths[0]) == hashlib.sha256(b"a").hexdigest()
    assert len(reads) == 4


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(OSError, match="gone"):
        file_sha256(tmp_path / "gone")
