"""What carries calls of other hosts to a program without a network."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from services.worker.launcher import forwarder
from tests.support.replica import until


def test_a_connection_that_the_program_closes_has_ended_though_the_other_side_is_silent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as program:
        program.bind(str(tmp_path / "s"))
        program.listen()
        program.settimeout(60)
        listener = forwarder.listen("127.0.0.1", 0)
        target = str(tmp_path / "s")
        threading.Thread(target=forwarder.run, args=(listener, target), daemon=True).start()
        before = threading.active_count()
        with socket.create_connection(listener.getsockname(), timeout=60) as caller:
            caller.sendall(b"question")
            answering, _ = program.accept()
            with answering:
                answering.settimeout(60)
                assert answering.recv(100) == b"question"
                answering.sendall(b"answer")
                assert caller.recv(100) == b"answer"
                assert threading.active_count() > before
            assert caller.recv(100) == b""
            until(lambda: threading.active_count() == before)
