"""Files that untrusted programs had a hand in, and the worker's folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from services.worker.files import Untrusted, disk_usage, read_untrusted, read_within, remove, tail, write_private
from services.worker.folders import Folders


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"12345")
    assert read_untrusted(good, 5) == b"12345"
    with pytest.raises(Untrusted, match="larger than 4 bytes"):
        read_untrusted(good, 4)
    (tmp_path / "link").symlink_to("good")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("link", "fifo", "folder", "missing"):
        with pytest.raises(Untrusted):
            read_untrusted(tmp_path / name, 10)


def test_links_are_followed_inside_only(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").write_bytes(b"12345")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to("below/file")
    assert read_within(folder, "link", 5) == b"12345"
    assert read_within(folder, Path("below", "..", "link"), 5) == b"12345"
    with pytest.raises(Untrusted, match="larger than 4 bytes"):
        read_within(folder, "link", 4)
    os.mkfifo(folder / "fifo")
    (folder / "out").symlink_to("../secret")
    (folder / "up").symlink_to("..")
    (folder / "round").symlink_to("round")
    for name in ("fifo", "out", "up/secret", "../secret", "round", "below", "missing", "no\0name"):
        assert read_within(folder, name, 10) is None
    (tmp_path / "alias").symlink_to("folder")
    assert read_within(tmp_path / "alias", "link", 5) == b"12345"


def test_a_tail_never_follows_links(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"0123456789")
    assert tail(log, 4) == b"6789"
    assert tail(log, 100) == b"0123456789"
    (tmp_path / "link").symlink_to("log")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "missing"):
        assert tail(tmp_path / name, 4) == b""


def test_read_only_folders_can_be_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "file").touch()
    for path in (folder, folder.parent):
        path.chmod(0o555)
    remove(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    remove(tmp_path / "a")
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_private_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_disk_usage_counts_what_is_inside(tmp_path: Path) -> None:
    assert disk_usage(tmp_path) == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(os.urandom(50_000))
    assert disk_usage(tmp_path) >= 50_000


def test_a_worker_keeps_its_id(tmp_path: Path) -> None:
    worker_id = Folders(tmp_path).worker_id()
    assert Folders(tmp_path).worker_id() == worker_id
    (tmp_path / "worker_id").write_text("rubbish")
    assert Folders(tmp_path).worker_id() not in (worker_id, "rubbish")


def test_a_long_data_folder_gets_a_short_one_for_sockets(tmp_path: Path) -> None:
    short = Folders(tmp_path / "short")
    assert short.run == (tmp_path / "short" / "run").resolve()
    long = Folders(tmp_path / ("x" * 80))
    try:
        assert not long.run.is_relative_to(tmp_path)
        assert len(str(long.run / "12345678" / "d" / "s")) <= 107
        assert Folders(tmp_path / ("x" * 80)).run == long.run
        long.run.chmod(0o777)
        with pytest.raises(PermissionError, match="belongs to somebody else"):
            Folders(tmp_path / ("x" * 80))
    finally:
        long.run.rmdir()


def test_the_runner_is_copied_once(tmp_path: Path) -> None:
    runner = Folders(tmp_path).copy_runner()
    assert (runner / "main.py").is_file()
    assert (runner / "pipe_node.js").is_file()
    assert Folders(tmp_path).copy_runner() == runner
    assert [path.name for path in tmp_path.glob("*runner*")] == [runner.name]
