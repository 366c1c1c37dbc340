"""What is said of images to those who wait for them."""

from __future__ import annotations

from uuid import uuid4

import pytest
from pydantic import ValidationError

from libs.common.bus.protocol import check_job_queue
from libs.common.contracts.images import (
    WORK_TRANSITIONS,
    ImageClaim,
    ImageResult,
    ImagesOf,
    ImageStatus,
    WorkState,
)
from libs.common.contracts.jobs import image_queue

DIGEST = f"sha256:{'a' * 64}"


def test_each_that_is_missing_is_said_with_its_reason() -> None:
    found = ImagesOf(
        images={
            "r1": ImageStatus(state=WorkState.WANTED),
            "r2": ImageStatus(state=WorkState.FAILED, reason="no base"),
            "r3": ImageStatus(state=WorkState.READY, digest=DIGEST),
        },
        gateway=ImageStatus(state=WorkState.RUNNING, digest=DIGEST, reference=f"r.example/a@{DIGEST}"),
    )
    assert (found.ready, found.pushed) == (False, False)
    assert found.waiting == [
        "the image of revision r1 waits for a worker",
        "the image of revision r2 failed: no base",
    ]
    assert found.waiting_for_push == [*found.waiting, "the image of revision r3 was made but is not pushed yet"]


def test_one_that_is_made_anew_stays_ready() -> None:
    usable = ImageStatus(state=WorkState.FAILED, digest=DIGEST, reference=f"r.example/a@{DIGEST}", reason="no base")
    found = ImagesOf(images={"r1": usable})
    assert (found.ready, found.pushed, found.waiting, found.waiting_for_push) == (True, True, [], [])


def test_what_is_done_can_be_asked_for_again_but_not_ended_twice() -> None:
    for state in (WorkState.READY, WorkState.FAILED):
        assert WORK_TRANSITIONS[state] == {WorkState.WANTED}
    assert WORK_TRANSITIONS[WorkState.WANTED] == {WorkState.RUNNING}


def test_each_platform_has_its_queue() -> None:
    assert check_job_queue(image_queue("linux/amd64")) == "image.linux-amd64"


def test_digests_and_platforms_are_checked() -> None:
    token = uuid4().hex
    with pytest.raises(ValidationError):
        ImageResult(lease_token=token, digest="a" * 64)
    with pytest.raises(ValidationError):
        ImageClaim(worker="w", platform="amd64", release="1")
    assert ImageResult(lease_token=token, digest=DIGEST).digest == DIGEST
