from __future__ import annotations

import json

import pytest

from libs.common.bus.envelopes import Reader, Unreadable, seal
from libs.common.contracts.events import CALLS_TOPIC, CallsRecorded
from libs.common.contracts.jobs import BuildRequested
from tests.support.messages import Job, NewerJob, OtherJob


def test_a_sealed_message_reads_as_it_was() -> None:
    message_id, raw = seal(Job(number=7))
    envelope = Reader([Job, NewerJob, OtherJob]).read(raw)
    assert envelope.body == Job(number=7)
    assert str(envelope.id) == message_id


def test_the_wire_is_json_with_the_members_that_other_programs_rely_on() -> None:
    message_id, raw = seal(Job(number=7))
    document = json.loads(raw)
    assert document.pop("sent_at").endswith("Z")
    assert document == {
        "id": message_id,
        "kind": "test.job",
        "version": 1,
        "trace": {},
        "request_id": None,
        "body": {"number": 7},
    }


def test_members_that_a_newer_sender_adds_are_ignored() -> None:
    document = json.loads(seal(Job(number=7))[1])
    document["extra"] = document["body"]["extra"] = "new"
    assert Reader([Job]).read(json.dumps(document).encode()).body == Job(number=7)


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"{}", b'"text"', b'{"kind": "test.job", "version": 1}'])
def test_bytes_that_are_no_envelope_are_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable, match="not an envelope: "):
        Reader([Job]).read(raw)


def test_the_platforms_own_messages_name_their_kind() -> None:
    assert CallsRecorded.kind == CALLS_TOPIC
    assert (BuildRequested.kind, BuildRequested.version) == ("build.requested", 1)
