"""The console, as administrators use it: satellites, and who may use it how."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.console import CONFIRM, SHEET, console, entry, fill_entry, launch, satellite, sign_in
from tests.browser.platform import PASSWORD, Platform
from tests.browser.test_pages import PHONE, contrast


def test_a_satellite_from_its_making_to_its_end(commits: list[str], chromium: Browser, platform: Platform) -> None:
    with console(chromium, platform) as page:
        page.get_by_role("link", name="New satellite").click()
        page.get_by_label("Name", exact=True).fill("edge")
        fill_entry(page, 1, commits[0], "text/tag", "2")
        page.get_by_role("button", name="Add an algorithm").click()
        expect(entry(page, 2).get_by_label("Algorithm", exact=True)).to_be_focused()
        fill_entry(page, 2, commits[0], "text/other")
        page.get_by_role("button", name="Create satellite").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("edge version 1")
        found = platform.ask("GET", "/admin/v1/satellites?q=edge")["items"][0]
        assert [(one["vanity_url"], one["replicas"]) for one in found["algorithms"]] == [
            ("text/tag", 2),
            ("text/other", 1),
        ]
        expect(page.get_by_role("main")).to_contain_text(found["id"])
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy Satellite ID").click()
        expect(page.get_by_text("Satellite ID copied")).to_be_attached()
        assert page.evaluate("navigator.clipboard.readText()") == found["id"]

        page.get_by_role("link", name="Edit algorithms").click()
        page.get_by_role("button", name="Remove algorithm 2").click()
        entry(page, 1).get_by_label("Algorithm", exact=True).fill(commits[1])
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("edge version 2")
        expect(page.get_by_role("tabpanel")).not_to_contain_text("text/other")
        page.get_by_role("tab", name="Versions").click()
        changes = page.get_by_role("list", name="From version 1 to version 2")
        expect(changes.get_by_role("listitem")).to_have_text(
            [re.compile("text/other.*removed"), re.compile("text/tag.*→.*changed")]
        )
        page.get_by_role("button", name="Renew accepted keys").click()
        page.get_by_role("button", name="Make a version").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("edge version 3")

        page.get_by_role("link", name="Satellites").first.click()
        page.get_by_label("Search satellites").fill("no such")
        expect(page.get_by_text("No satellite has “no such” in its name.")).to_be_visible()
        page.get_by_label("Search satellites").fill("EDG")
        page.get_by_role("link", name="edge").click()
        page.get_by_role("button", name="Remove satellite").click()
        page.get_by_role("button", name="Remove", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Satellites")
        assert platform.ask("GET", "/admin/v1/satellites?q=edge")["items"] == []


def test_who_edits_what_somebody_else_edited_meanwhile_is_told(
    commits: list[str], chromium: Browser, platform: Platform
) -> None:
    of = satellite(platform, "both", commits[0], "both/tag")
    with console(chromium, platform, f"/console/satellites/{of}/edit") as page:
        entry(page, 1).get_by_label("Replicas").fill("2")
        other = {"algorithm": commits[1], "vanity_url": "both/other", "replicas": 1}
        platform.ask("PUT", f"/admin/v1/satellites/{of}", json={"algorithms": [other]})
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("alert")).to_contain_text("Satellite 'both' is at version 2 by now")
        expect(page.get_by_role("status")).to_contain_text("Somebody made version 2 meanwhile")
        assert platform.ask("GET", f"/admin/v1/satellites/{of}")["algorithms"] == [other]
        page.get_by_role("button", name="Start over with version 2").click()
        expect(entry(page, 1).get_by_label("Vanity URL")).to_have_value("both/other")
        expect(page.get_by_role("alert")).to_have_count(0)
        entry(page, 1).get_by_label("Replicas").fill("3")
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("both version 3")
    assert platform.ask("GET", f"/admin/v1/satellites/{of}")["algorithms"] == [{**other, "replicas": 3}]


def test_what_is_refused_is_said_where_it_belongs(commits: list[str], chromium: Browser, platform: Platform) -> None:
    satellite(platform, "taken", commits[0], "taken/tag")
    with console(chromium, platform, "/console/satellites/new") as page:
        page.get_by_label("Name", exact=True).fill("taken")
        fill_entry(page, 1, "admin/tool", "no slash", "0")
        page.get_by_role("button", name="Add an algorithm").click()
        fill_entry(page, 2, f"admin/tool/{'0' * 40}", "refused/two")
        page.get_by_role("button", name="Create satellite").click()
        first = entry(page, 1)
        for label, words in (
            ("Algorithm", "is not OWNER/NAME/HASH"),
            ("Vanity URL", "is no vanity URL"),
            ("Replicas", "use 1 to 1000"),
        ):
            field = first.get_by_label(label, exact=True)
            expect(field).to_have_attribute("aria-invalid", "true")
            expect(field).to_have_accessible_description(re.compile(re.escape(words)))
        expect(first.get_by_label("Algorithm", exact=True)).to_be_focused()
        expect(page.get_by_role("alert")).to_contain_text("Not saved")
        fill_entry(page, 1, commits[0], "refused/one", "1.5")
        page.get_by_role("button", name="Create satellite").click()
        expect(first.get_by_label("Replicas")).to_have_accessible_description(re.compile("integer"))
        fill_entry(page, 1, commits[0], "refused/one")
        page.get_by_role("button", name="Create satellite").click()
        second = entry(page, 2).get_by_label("Algorithm", exact=True)
        expect(second).to_have_accessible_description(re.compile("no successful build.*push the commit"))
        second.fill(commits[0].rpartition("/")[0] + "/")
        suggested = page.locator(f"#{second.get_attribute('list')} option")
        expect(suggested).to_have_count(2)
        assert {one.get_attribute("value") for one in suggested.all()} == set(commits)
        second.fill(commits[0])
        page.get_by_role("button", name="Create satellite").click()
        expect(page.get_by_label("Name", exact=True)).to_have_accessible_description(
            "There is a satellite 'taken' already."
        )
        for number in (2, 1):
            page.get_by_role("button", name=f"Remove algorithm {number}").click()
        page.get_by_label("Name", exact=True).fill("")
        page.get_by_role("button", name="Create satellite").click()
        expect(page.get_by_label("Name", exact=True)).to_have_accessible_description(re.compile("1 to 100 printable"))
        page.get_by_label("Name", exact=True).fill("empty")
        page.get_by_role("button", name="Create satellite").click()
        expect(page.get_by_role("alert")).to_contain_text("A satellite holds at least one algorithm")
        page.goto("/console/satellites/00000000-0000-0000-0000-000000000000")
        expect(page.get_by_role("alert")).to_contain_text("There is no satellite")
        page.goto("/console/nowhere")
        expect(page.get_by_role("heading", name="Nothing is here")).to_be_visible()


def test_text_is_text(commits: list[str], chromium: Browser, platform: Platform) -> None:
    markup = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>'
    of = satellite(platform, markup, commits[0], "markup/tag")
    made = launch(platform, of, markup, description=f"{markup} javascript:alert(1)")
    with console(chromium, platform, f"/console/satellites/{of}/launches/{made}") as page:
        expect(page.get_by_role("heading", level=1)).to_contain_text(markup)
        expect(page.locator(SHEET).locator(".description")).to_contain_text(markup)
        page.goto("/console/")
        expect(page.get_by_role("link", name=markup)).to_be_visible()
        assert page.evaluate("window.owned") is None
        assert page.locator("main img, main script").count() == 0


def test_who_may_enter_and_for_how_long(commits: list[str], chromium: Browser, platform: Platform) -> None:
    of = satellite(platform, "lasting", commits[0], "lasting/tag")
    with opened(chromium, platform) as page:
        page.goto("/console/")
        sign_in(page, "jane", PASSWORD)
        expect(page.get_by_role("heading", name="For administrators")).to_be_visible()
        expect(page.get_by_role("main")).to_contain_text("jane, who is no administrator")
        expect(page.get_by_role("navigation")).to_have_count(0)
        page.get_by_role("link", name="Go to your account").click()
        expect(page.get_by_role("link", name="Console")).to_have_count(0)
        page.go_back()
        page.get_by_role("link", name="Sign in as somebody else").click()
        sign_in(page, platform.admin["username"], platform.admin["password"])
        expect(page.get_by_role("heading", name="Satellites")).to_be_visible()

        page.goto(f"/console/satellites/{of}")  # loaded anew: nobody is asked
        expect(page.get_by_role("heading", level=1)).to_have_text("lasting version 1")
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        assert kept == '[{},{},""]'
        page.get_by_role("link", name="Edit algorithms").click()
        page.get_by_label("Name", exact=True).fill("lasting on")
        other = page.context.new_page()
        other.goto("/apps")
        expect(other.get_by_role("link", name="Console")).to_be_visible()
        other.get_by_role("button", name="Sign out", exact=True).first.click()
        expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("alert").first).to_contain_text("not signed in any more. Sign in again")
        with page.context.expect_page() as again:
            page.get_by_role("link", name="Sign in again").first.click()
        sign_in(again.value, platform.admin["username"], platform.admin["password"])
        expect(again.value.get_by_label("Name", exact=True)).to_have_value("lasting")
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("lasting on version 1")
        page.get_by_role("link", name="Sign out").click()
        page.get_by_role("main").get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


def test_by_keyboard_alone_in_the_dark(commits: list[str], chromium: Browser, platform: Platform) -> None:
    of = satellite(platform, "keys", commits[0], "keys/tag")
    launch(platform, of, "first")
    with console(chromium, platform, f"/console/satellites/{of}", color_scheme="dark") as page:
        expect(page.get_by_role("heading", level=1)).to_contain_text("keys")

        def tab_to(name: str, key: str = "Tab") -> None:
            for _ in range(30):
                page.keyboard.press(key)
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
                text = page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent.trim()")
                if text == name:
                    return
            raise AssertionError(f"no way to {name}")

        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        tab_to("Algorithms")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Launch instances")).to_be_focused()
        expect(page.get_by_role("tab", name="Launch instances")).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("link", name="first")).to_be_visible()
        tab_to("first")
        page.keyboard.press("Enter")
        sheet = page.locator(SHEET)
        expect(sheet.get_by_role("heading", name="first")).to_be_visible()
        for _ in range(12):  # all the way round: the keyboard stays in the sheet, or is at the browser itself
            page.keyboard.press("Tab")
            assert page.evaluate(
                "document.activeElement.closest('dialog') || document.activeElement === document.body"
            )
        tab_to("Remove launch instance")
        page.keyboard.press("Enter")
        expect(page.locator(CONFIRM)).to_be_visible()
        for selector in (f"{CONFIRM} h2", ".primary.bad", f"{CONFIRM} p"):
            assert contrast(page, selector) >= 4.5, selector
        page.keyboard.press("Escape")
        expect(page.locator(CONFIRM)).to_have_count(0)
        expect(sheet.get_by_role("button", name="Remove launch instance")).to_be_focused()
        for selector in ("dt", "dd", "code", ".primary", ".danger", ".tag", ".small"):
            assert contrast(page, f"{SHEET} {selector}") >= 4.5, selector
        page.keyboard.press("Escape")
        expect(sheet).to_have_count(0)
        expect(page.get_by_role("link", name="first")).to_be_focused()
        for selector in ("h1", "h1 .tag", ".quiet", "a.brand", "nav a", ".tabs a", ".crumb a", ".button"):
            assert contrast(page, selector) >= 4.5, selector


def test_on_a_phone(commits: list[str], chromium: Browser, platform: Platform) -> None:
    of = satellite(platform, "pocket", commits[0], "pocket/tag")
    made = launch(platform, of, "prod", description="A long description, " * 12)

    def fits(page: Page) -> None:
        """Nothing is wider than the screen, and what is pressed is high enough for a finger."""
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for dialog in page.locator("dialog[open]").all():
            assert dialog.evaluate("self => self.scrollWidth <= innerWidth")
        for one in page.locator(".button, button:not(.small)").all():
            box = one.bounding_box()
            assert box is None or box["height"] >= 44, one

    with console(chromium, platform, **PHONE) as page:
        expect(page.get_by_role("link", name="pocket")).to_be_visible()
        fits(page)
        for path in ("new", of, f"{of}/edit", f"{of}/versions", f"{of}/launches", f"{of}/launches/new"):
            page.goto(f"/console/satellites/{path}")
            expect(page.get_by_role("heading", name=re.compile("New|Edit|pocket")).first).to_be_visible()
            fits(page)
        page.goto(f"/console/satellites/{of}/launches")
        page.get_by_role("link", name="prod").tap()
        expect(page.locator(SHEET)).to_contain_text(made)
        fits(page)
        page.locator(SHEET).get_by_role("button", name="Deploy").tap()
        expect(page.locator(CONFIRM)).to_be_visible()
        fits(page)
