"""Sign-in, the approval of apps and own apps, as people meet them."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import DEADLINE, opened
from tests.browser.platform import PASSWORD, Platform

expect.set_options(timeout=DEADLINE)
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


def sign_in(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill("jane")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def contrast(page: Page, selector: str) -> float:
    """Of an element's text against what is behind it (WCAG 2.2, 1.4.3)."""
    ratio: float = page.locator(selector).first.evaluate(
        """element => {
            const colour = text => text.match(/[\\d.]+/g).map(Number);
            const light = text => colour(text).slice(0, 3).map(c => c / 255)
                .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
                .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
            let ground = element;
            while (colour(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
            const both = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(light);
            return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
        }"""
    )
    return ratio


def test_a_link_survives_signing_in_and_a_part_is_declined(chromium: Browser, platform: Platform) -> None:
    app = platform.app()
    with opened(chromium, platform) as page:
        page.goto(app.link)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        sign_in(page, "not the password")
        expect(page.get_by_role("alert")).to_have_text("Wrong user name or password.")
        expect(page.get_by_label("User name")).to_have_value("jane")
        expect(page.get_by_label("Password")).to_be_focused()
        sign_in(page)
        expect(page).to_have_url(app.link)
        expect(page.get_by_role("heading", level=1)).to_have_text("Let org.example.microscope in?")
        main = page.get_by_role("main")
        for words in ("Version 1.2.0 by Some One", "scope-214", "Call algorithms as you", "where this browser is"):
            expect(main).to_contain_text(words)
        expect(page.get_by_role("checkbox", name="absent")).to_be_disabled()
        page.get_by_role("checkbox", name="storage").uncheck()
        page.get_by_label("Organization").select_option(label="Imaging Lab (lab)")
        assert app.poll()["error"] == "authorization_pending"
        page.get_by_role("button", name="Let it in").click()
        expect(page.get_by_role("status")).to_have_text("org.example.microscope was let in.")
        answer = app.poll()
        assert answer["statuses"] == {"files": "granted", "images": "denied", "other": "unavailable"}

        page.get_by_role("link", name="Go to your apps").click()
        expect(main).to_contain_text("for lab")
        page.evaluate("window.stays = true")
        page.get_by_role("button", name="Revoke org.example.microscope").click()
        expect(page.get_by_role("button", name="Revoke org.example.microscope")).to_have_count(0)
        assert page.evaluate("window.stays")  # the part of the page was replaced, not the page
        form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"], "client_id": app.client_id}
        assert page.request.post("/o/token/", form=form).status in (400, 401)
        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_by_keyboard_alone_in_the_dark(chromium: Browser, platform: Platform) -> None:
    app = platform.app()
    with opened(chromium, platform, color_scheme="dark") as page:
        page.goto("/configure")
        expect(page.get_by_label("User name")).to_be_focused()
        page.keyboard.type("jane")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_label("Code that the app shows")).to_be_focused()
        page.keyboard.type(app.code.lower())
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Let org.example.microscope in?")
        for _ in range(20):
            page.keyboard.press("Tab")
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            if page.evaluate("document.activeElement.value") == "deny":
                break
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", ground))) < 64
        for selector in ("h1", ".quiet", "dt", "a.brand", "button.primary", "button.link", ".tag", ".warn"):
            assert contrast(page, selector) >= 4.5, selector
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("was not let in")
        assert contrast(page, ".notice") >= 4.5
        assert app.poll()["error"] == "access_denied"


def test_on_a_phone_without_scripts(chromium: Browser, platform: Platform) -> None:
    app = platform.app()

    def fits(page: Page) -> bool:
        """Is nothing wider than the screen, and every button high enough for a finger?"""
        low = [
            box["height"] for one in page.locator(".button, button:not(.link)").all() if (box := one.bounding_box())
        ]
        viewport = page.viewport_size
        assert viewport is not None
        main = page.get_by_role("main").bounding_box()
        assert main is not None
        return min(low) >= 44 and main["x"] + main["width"] <= viewport["width"]

    with opened(chromium, platform, java_script_enabled=False, **PHONE) as page:
        page.goto(app.link)
        assert fits(page)
        sign_in(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("Let org.example.microscope in?")
        assert fits(page)
        page.get_by_role("button", name="Let it in").tap()
        expect(page.get_by_role("status")).to_contain_text("was let in")
        assert "access_token" in app.poll()
        page.get_by_role("link", name="Go to your apps").tap()
        expect(page.get_by_role("heading", name="Your apps")).to_be_visible()
        assert fits(page)
        page.get_by_role("button", name="Revoke org.example.microscope").tap()
        expect(page.get_by_role("button", name="Revoke org.example.microscope")).to_have_count(0)


def test_a_code_that_is_over_is_said_and_the_page_notices_by_itself(chromium: Browser, platform: Platform) -> None:
    with opened(chromium, platform) as page:
        page.goto("/signin")
        for selector in ("h1", "label", "button.primary", "a.brand"):
            assert contrast(page, selector) >= 4.5, selector
        sign_in(page)
        expect(page.get_by_role("heading", name="Your apps")).to_be_visible()
        app = platform.app(seconds=3)
        page.goto(app.link)
        expect(page.get_by_role("alert")).to_contain_text("was used, or has expired")
        app.until("expired_token")
        page.goto("/configure")
        page.get_by_label("Code that the app shows").fill(app.code)
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert")).to_contain_text("was used, or has expired")
        assert contrast(page, ".notice") >= 4.5
        expect(page.get_by_label("Code that the app shows")).to_have_value(app.code)


def test_a_browser_goes_back_to_the_app_that_sent_it(chromium: Browser, platform: Platform) -> None:
    """The page's policy lets the answer to its form lead to the app, and nowhere else."""
    back = f"{platform.url.replace('127.0.0.1', 'localhost')}/healthz"
    client = platform.ask("POST", "/admin/v1/clients", json={"name": "Wiki", "redirect_uris": [back]})
    query = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": back,
        "scope": "openid",
        "state": "s1",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    with opened(chromium, platform) as page:
        asked = "/o/authorize/?" + "&".join(f"{name}={value}" for name, value in query.items())
        page.goto(asked)
        sign_in(page)
        page.get_by_role("button", name="Let it in").click()
        page.wait_for_url(re.compile(r"^http://localhost:\d+/healthz\?code=.*state=s1"))
        # It approved the same before: the browser is sent back at once, also straight from signing in.
        page.context.clear_cookies()
        page.goto(asked)
        sign_in(page)
        page.wait_for_url(re.compile(r"^http://localhost:\d+/healthz\?code="))
