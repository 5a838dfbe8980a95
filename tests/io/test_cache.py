import errno
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from bige_opensim.io import cache
from bige_opensim.io.cache import (
    CacheUse,
    CacheWarning,
    cache_folder,
    cache_limit,
    cache_use,
    clear_cache,
    kept,
    read_entry,
    write_entry,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BIGE_CACHE_SIZE", raising=False)
    monkeypatch.setattr(cache, "_SAID", set())
    return tmp_path / "cache"


def use(name: str, at: float) -> None:
    """Let an entry have been used at a time, s."""
    os.utime(cache_folder() / f"{name}{cache.SUFFIX}", (at, at))


def keep_thrice() -> list[bytes]:
    return [kept("thing", lambda: b"made", pack=bytes, unpack=bytes) for _ in range(3)]


def make_nothing() -> bytes:
    raise AssertionError("what is kept was made again")


def test_what_was_made_once_is_kept_and_not_made_again():
    packed = {"pack": str.encode, "unpack": bytes.decode}
    assert kept("thing-1", lambda: "made", **packed) == "made"
    assert kept("thing-1", make_nothing, **packed) == "made"
    assert cache_use() == CacheUse(1, 32 + len("made"))


def test_the_least_recently_used_entries_make_room_for_new_ones(monkeypatch):
    monkeypatch.setenv("BIGE_CACHE_SIZE", "1 kB")
    for i in range(3):
        write_entry(f"thing-{i}", bytes(300))
        use(f"thing-{i}", 1000.0 + i)
    assert read_entry("thing-0") is not None  # used now, so that thing-1 is the oldest
    write_entry("thing-3", bytes(300))
    assert [read_entry(f"thing-{i}") is not None for i in range(4)] == [True, False, True, True]


def test_the_cache_never_outgrows_its_limit(monkeypatch):
    monkeypatch.setenv("BIGE_CACHE_SIZE", "5K")
    sizes = np.random.default_rng(0).integers(0, 4000, 100)
    for i, size in enumerate(sizes):
        write_entry(f"thing-{i}", bytes(int(size)))
        assert read_entry(f"thing-{i}") is not None
        assert cache_use().size <= 5000


def test_what_is_larger_than_the_cache_is_not_kept_and_pushes_nothing_out(monkeypatch):
    monkeypatch.setenv("BIGE_CACHE_SIZE", "1 kB")
    write_entry("small", b"small")
    write_entry("large", bytes(1000))
    assert (read_entry("small"), read_entry("large")) == (b"small", None)
    monkeypatch.setenv("BIGE_CACHE_SIZE", "0")
    write_entry("none", b"")
    assert read_entry("none") is None


@pytest.mark.parametrize(
    ("text", "size"), [("500 MB", 5e8), ("2GB", 2e9), ("1.5g", 1.5e9), ("12345", 12345), ("0", 0), ("", 1e9)]
)
def test_sizes_are_read_as_people_write_them(monkeypatch, text: str, size: float):
    monkeypatch.setenv("BIGE_CACHE_SIZE", text)
    assert cache_limit() == size


@pytest.mark.parametrize("text", ["much", "-1 GB", "1 GiB of it", "nan"])
def test_a_size_that_is_none_is_said_and_the_usual_one_taken(monkeypatch, text: str):
    monkeypatch.setenv("BIGE_CACHE_SIZE", text)
    with pytest.warns(CacheWarning, match="expected a size such as 500 MB"):
        assert cache_limit() == 1e9


@pytest.mark.parametrize("variable", ["BIGE_CACHE", "XDG_CACHE_HOME"])
def test_an_empty_variable_does_not_put_the_cache_into_the_working_directory(monkeypatch, variable: str):
    monkeypatch.delenv("BIGE_CACHE")
    monkeypatch.setenv(variable, "")
    assert cache_folder().is_absolute()


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache.Path, "home", no_home)
    assert cache_folder() == Path(os.environ["BIGE_CACHE"])
    monkeypatch.delenv("BIGE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder().name == "bige_opensim"


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "foreign"])
def test_a_damaged_entry_is_said_once_and_made_again(folder: Path, damage: str):
    content = b"numbers of a model" * 50
    write_entry("thing", content)
    path = folder / "thing.cached"
    stored = path.read_bytes()
    turned = stored[:99] + bytes([stored[99] ^ 1]) + stored[100:]
    path.write_bytes({"cut": stored[:-1], "bit": turned, "empty": b"", "foreign": b"{}" * 99}[damage])
    with pytest.warns(CacheWarning, match="damaged and is made again") as said:
        assert [read_entry("thing"), read_entry("thing")] == [None, None]
    assert len(said) == 1
    assert kept("thing", lambda: content, pack=bytes, unpack=bytes) == content
    assert kept("thing", make_nothing, pack=bytes, unpack=bytes) == content


def test_a_file_where_the_folder_should_be_costs_the_cache_only(folder: Path):
    folder.write_text("not a folder")
    with pytest.warns(CacheWarning, match="cannot be written.*name another folder with BIGE_CACHE") as said:
        assert keep_thrice() == [b"made"] * 3
    assert len(said) == 1
    assert cache_use() == clear_cache() == CacheUse(0, 0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_nothing_more_costs_the_cache_only(folder: Path, monkeypatch, number: int):
    write_entry("before", b"before")

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.warns(CacheWarning, match="cannot be written") as said:
            assert keep_thrice() == [b"made"] * 3
    assert len(said) == 1
    assert [p.name for p in folder.iterdir()] == ["before.cached"]
    assert read_entry("before") == b"before"


FULL = """
import resource, signal, sys, warnings
from bige_opensim.io.cache import kept
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    made = [kept("thing", lambda: bytes(5000), pack=bytes, unpack=bytes) for _ in range(3)]
print(made == [bytes(5000)] * 3, len(said))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits of file sizes")
def test_a_write_that_the_system_breaks_off_leaves_no_half_entry(folder: Path):
    finished = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["True", "1"]
    assert list(folder.iterdir()) == []


CROWD = """
import random, sys, warnings
from bige_opensim.io.cache import CacheWarning, kept
warnings.simplefilter("error", CacheWarning)
draw = random.Random(int(sys.argv[1]))
for _ in range(400):
    i = draw.randrange(30)
    assert kept(f"thing-{i}", lambda: bytes([i]) * 400, pack=bytes, unpack=bytes) == bytes([i]) * 400
"""


def test_many_processes_share_one_small_cache(folder: Path, monkeypatch):
    monkeypatch.setenv("BIGE_CACHE_SIZE", "4 kB")
    crowd = [subprocess.Popen([sys.executable, "-c", CROWD, str(i)], stderr=subprocess.PIPE) for i in range(4)]
    ends = [process.communicate()[1].decode() for process in crowd]
    assert ends == [""] * 4
    assert cache_use().size <= 4000 + 4 * 432
    assert all(p.name.endswith(".cached") for p in folder.iterdir())


def test_clearing_removes_entries_of_this_and_earlier_versions_and_nothing_else(folder: Path):
    write_entry("thing", b"entry")
    key = "0123456789abcdef" * 2
    for name in (f"skeleton-5-{key}", f"muscles-{key}"):
        (folder / name).mkdir()
        (folder / name / "tables.safetensors").write_bytes(bytes(1000))
    (folder / f"static-optimization-1-01234567-{key}.osim").write_text("<OpenSimDocument/>")
    mine = [folder / "skeleton-of-my-cat.png", folder / f"muscles-{key}.docx", folder / "sub" / "thing.cached"]
    mine[2].parent.mkdir()
    for path in mine:
        path.write_text("precious")
    removed = clear_cache()
    assert removed.entries == 4
    assert removed.size > 2000
    assert cache_use() == CacheUse(0, 0)
    assert all(path.read_text() == "precious" for path in mine)


def test_what_earlier_versions_and_killed_processes_left_goes_when_something_is_kept(folder: Path):
    folder.mkdir()
    (folder / f"muscles-{'0' * 32}").mkdir()
    old, new = (folder / f".thing.cached.{digit * 32}.part" for digit in "12")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * cache.ABANDONED_S,) * 2)
    write_entry("other", b"other")
    assert {p.name for p in folder.iterdir()} == {"other.cached", new.name}


def test_a_good_cache_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_entry("thing", json.dumps({}).encode())
        assert read_entry("thing") == b"{}"
        assert read_entry("other") is None
