"""Positions in a replica's log: true while files are begun anew, also after its end, and never inside a character."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from services.worker import replica_log
from services.worker.replica_log import Kept, Part
from services.worker.runner.output import OutputLog, open_output


def test_positions_stay_true_while_the_log_is_begun_anew(tmp_path: Path) -> None:
    preparation = tmp_path / "preparation"
    preparation.write_text("installed\n")
    log = OutputLog(open_output(), str(tmp_path / "log"))
    written = "installed\n"
    for number in range(60):
        line = f"{number:08} ".ljust(200_000, "x")
        log.note(line)
        written += f"[runner] {line}\n"
        kept = replica_log.collect(preparation, tmp_path / "log", b"")
        assert kept.end == len(written)
        assert kept.content.decode() == written[kept.start :]
    log.close()
    assert kept.start > 0, "the beginning is gone by now"
    assert replica_log.part(kept, 0, 5, ended=False) == Part(
        kept.start, kept.start + 5, written[kept.start :][:5], whole=False
    )

    replica = uuid4()
    assert replica_log.archived(tmp_path, replica) is None
    replica_log.archive(tmp_path, replica, replica_log.collect(preparation, tmp_path / "log", b"last words"))
    ended = replica_log.archived(tmp_path, replica)
    assert ended is not None
    assert ended.end == len(written) + 10
    part = replica_log.part(ended, kept.end, 100, ended=True)
    assert part == Part(kept.end, ended.end, "last words", whole=True)


def test_a_part_ends_between_characters() -> None:
    kept = Kept(7, "aäß€".encode())
    pieces, offset = [], 7
    while not (part := replica_log.part(kept, offset, 3, ended=False)).whole:
        pieces.append(part.text)
        offset = part.next_offset
    assert "".join([*pieces, part.text]) == "aäß€"
    assert replica_log.part(kept, 99, 3, ended=False) == Part(99, 99, "", whole=True)
    cut = Kept(0, "ä".encode()[:1])
    assert replica_log.part(cut, 0, 10, ended=False) == Part(0, 0, "", whole=False), "the rest of it may come"
    assert replica_log.part(cut, 0, 10, ended=True) == Part(0, 1, "\ufffd", whole=True)


def test_a_log_that_another_end_removes_meanwhile_costs_nothing(tmp_path: Path) -> None:
    for number in range(250):
        (tmp_path / f"{uuid4()}.{number}.log").write_bytes(b"old")
    (tmp_path / f"{uuid4()}.0.log").symlink_to(tmp_path / "gone")
    replica = uuid4()
    replica_log.archive(tmp_path, replica, Kept(0, b"new"))
    assert replica_log.archived(tmp_path, replica) == Kept(0, b"new")
    assert len(list(tmp_path.iterdir())) == 200
