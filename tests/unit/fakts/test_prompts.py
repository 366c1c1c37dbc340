"""What an authentication request wants of the person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.fakts.oauth.prompts import Next, Unanswerable, decide, read

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JUST_NOW, LONG_AGO = NOW - timedelta(seconds=5), NOW - timedelta(hours=5)


@pytest.mark.parametrize(
    ("parameters", "signed_in_at", "consented", "following"),
    [
        ({}, None, False, Next.SIGN_IN),
        ({}, JUST_NOW, False, Next.ASK),
        ({}, LONG_AGO, True, Next.GO_BACK),
        ({"prompt": "consent"}, JUST_NOW, True, Next.ASK),
        ({"prompt": "consent"}, None, True, Next.SIGN_IN),
        ({"prompt": "login"}, JUST_NOW, True, Next.SIGN_IN_AGAIN),
        ({"prompt": "login consent"}, JUST_NOW, True, Next.SIGN_IN_AGAIN),
        ({"prompt": "select_account"}, None, False, Next.SIGN_IN_AGAIN),
        ({"prompt": "of-the-future"}, JUST_NOW, True, Next.GO_BACK),
        ({"prompt": "none"}, JUST_NOW, True, Next.GO_BACK),
        ({"max_age": "60"}, JUST_NOW, True, Next.GO_BACK),
        ({"max_age": "60"}, LONG_AGO, True, Next.SIGN_IN_AGAIN),
        ({"max_age": "60"}, None, True, Next.SIGN_IN),
        ({"max_age": "0"}, JUST_NOW, True, Next.SIGN_IN_AGAIN),
        ({"response_mode": "query"}, JUST_NOW, True, Next.GO_BACK),
    ],
)
def test_the_person_sees_what_is_needed(
    parameters: dict[str, str], signed_in_at: datetime | None, consented: bool, following: Next
) -> None:
    assert decide(read(parameters), signed_in_at=signed_in_at, consented=consented, now=NOW) is following


@pytest.mark.parametrize(
    ("parameters", "signed_in_at", "error"),
    [
        ({"prompt": "none login"}, JUST_NOW, "invalid_request"),
        ({"max_age": "soon"}, JUST_NOW, "invalid_request"),
        ({"max_age": "-1"}, JUST_NOW, "invalid_request"),
        ({"max_age": "٣"}, JUST_NOW, "invalid_request"),
        ({"response_mode": "form_post"}, JUST_NOW, "invalid_request"),
        ({"request": "x"}, JUST_NOW, "request_not_supported"),
        ({"prompt": "none"}, None, "login_required"),
        ({"prompt": "none", "max_age": "60"}, LONG_AGO, "login_required"),
        ({"prompt": "none"}, JUST_NOW, "consent_required"),
    ],
)
def test_what_cannot_be_answered_is_told(
    parameters: dict[str, str], signed_in_at: datetime | None, error: str
) -> None:
    with pytest.raises(Unanswerable) as refused:
        decide(read(parameters), signed_in_at=signed_in_at, consented=False, now=NOW)
    assert refused.value.error == error
