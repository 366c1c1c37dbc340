"""Where pages may send the browser."""

from __future__ import annotations

import pytest

from services.fakts.pages.destinations import HOME, form_sources, own_path, sign_in


@pytest.mark.parametrize("path", ["/configure/WDJB-MJHT", "/o/authorize/?client_id=a&state=b%20c", "/"])
def test_own_paths_are_followed(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "apps",
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/a\\b",
        "/\t/evil.example",
        "/\n/evil.example",
        "/ä",
        "/" + "x" * 4000,
        "javascript:alert(1)",
    ],
)
def test_all_else_leads_to_the_own_apps(path: str | None) -> None:
    assert own_path(path) == HOME


def test_the_sign_in_page_is_told_what_follows() -> None:
    assert sign_in("/configure/?device_code=a&b=c") == "/signin?next=/configure/%3Fdevice_code%3Da%26b%3Dc"
    assert sign_in("/o/", again=True, hint="jane") == "/signin?next=/o/&again=true&hint=jane"


def test_a_form_may_lead_where_its_answer_may() -> None:
    assert form_sources("/apps") == "'self'"
    assert form_sources("https://app.example:8443/callback?x=1") == "'self' https://app.example:8443"
    assert form_sources("org.example.app:/callback") == "'self' org.example.app:"
    assert form_sources("/o/authorize/?client_id=a") is None
