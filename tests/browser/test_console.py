"""The console, as administrators use it: satellites, their launch instances, and what runs of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import DEADLINE, opened
from tests.browser.platform import PASSWORD, Platform
from tests.browser.test_pages import PHONE, contrast
from tests.support.author import Author

expect.set_options(timeout=DEADLINE)
SOURCE = "def apply(input):\n    return VERSION\n"
SHEET, CONFIRM = "dialog.sheet", "dialog.confirm"
STATE = f"{SHEET} .state"


@pytest.fixture(scope="module")
def commits(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two built commits of `tool`. Comes before the browser, as building waits."""
    admin = platform.admin
    with Author(platform.url, admin["username"], admin["api_key"], tmp_path_factory.mktemp("author")) as author:
        first = author.deploy("tool", SOURCE.replace("VERSION", "1"))
        second = author.push("tool", {"src/tool.py": SOURCE.replace("VERSION", "2")})
        assert author.build("tool", second)["status"] == "succeeded"
    return [f"admin/tool/{commit}" for commit in (first, second)]


@contextmanager
def console(chromium: Browser, platform: Platform, path: str = "/console/", **options: Any) -> Iterator[Page]:
    """The console with the administrator signed in. It asks no other origin for anything."""
    with opened(chromium, platform, **options) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path)
        sign_in(page, platform.admin["username"], platform.admin["password"])
        expect(page).to_have_url(re.compile(re.escape(path) + "$"))
        expect(page.get_by_text("Signed in as admin")).to_be_attached()
        yield page
        assert [url for url in asked if not url.startswith(platform.url)] == []


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def entry(page: Page, number: int) -> Locator:
    return page.get_by_role("group", name=f"Algorithm {number}")


def fill_entry(page: Page, number: int, algorithm: str, vanity: str, replicas: str = "1") -> None:
    row = entry(page, number)
    row.get_by_label("Algorithm", exact=True).fill(algorithm)
    row.get_by_label("Vanity URL").fill(vanity)
    row.get_by_label("Replicas").fill(replicas)


def satellite(platform: Platform, name: str, algorithm: str, vanity: str, replicas: int = 1) -> str:
    algorithms = [{"algorithm": algorithm, "vanity_url": vanity, "replicas": replicas}]
    made: str = platform.ask("POST", "/admin/v1/satellites", json={"name": name, "algorithms": algorithms})["id"]
    return made


def launch(platform: Platform, of: str, name: str, **more: Any) -> str:
    made: str = platform.ask("POST", f"/admin/v1/satellites/{of}/launches", json={"name": name, **more})["id"]
    return made


def do(page: Page, act: str, confirm: str) -> None:
    """Something that the sheet offers, and asks about."""
    page.locator(SHEET).get_by_role("button", name=act, exact=True).click()
    page.locator(CONFIRM).get_by_role("button", name=confirm, exact=True).click()
    expect(page.locator(CONFIRM)).to_have_count(0)


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


def test_a_launch_instance_from_its_making_to_its_end(
    commits: list[str], chromium: Browser, platform: Platform
) -> None:
    of = satellite(platform, "shop", commits[0], "shop/tag")
    platform.ask("PUT", f"/admin/v1/satellites/{of}", json={
        "algorithms": [{"algorithm": commits[1], "vanity_url": "shop/tag", "replicas": 1}]
    })  # fmt: skip
    with console(chromium, platform, f"/console/satellites/{of}/launches") as page:
        sheet = page.locator(SHEET)
        page.get_by_role("link", name="New launch instance").click()
        expect(page.get_by_label("Name", exact=True)).to_be_focused()
        page.get_by_label("Name", exact=True).fill("prod")
        page.get_by_label("Satellite version").select_option("1")
        page.get_by_label("Description").fill("What shoppers call")
        page.get_by_role("button", name="Create launch instance").click()
        expect(sheet.get_by_role("heading", name="prod")).to_be_visible()
        made = platform.ask("GET", f"/admin/v1/satellites/{of}/launches")["items"][0]
        assert (made["name"], made["satellite_version"], made["description"]) == ("prod", 1, "What shoppers call")
        for words in (made["id"], of, f"constellation launch deploy {made['id']}", "never deployed"):
            expect(sheet).to_contain_text(words)

        do(page, "Deploy", "Deploy version 1")
        expect(page.locator(STATE)).to_contain_text("deployed1 of 1 replicas ready")
        sheet.get_by_role("button", name="Deploy again").click()
        page.locator(CONFIRM).get_by_label("Satellite version").select_option("2")
        expect(page.locator(CONFIRM)).to_contain_text("Version 1 answers calls now.")
        expect(page.locator(CONFIRM).get_by_role("listitem")).to_contain_text("shop/tag")
        page.get_by_role("button", name="Deploy version 2").click()
        expect(sheet).to_contain_text("2, which runs")
        expect(page.locator(STATE)).to_contain_text("deployed1 of 1")
        do(page, "Roll back", "Roll back to version 1")
        expect(sheet).to_contain_text("1, which runs")
        do(page, "Pause", "Pause")
        expect(page.locator(STATE)).to_contain_text("paused")
        sheet.get_by_role("button", name="Resume").click()
        expect(page.locator(STATE)).not_to_contain_text("paused")
        expect(sheet.get_by_role("listitem").filter(has_text=re.compile("^Version . deployed"))).to_have_count(3)
        sheet.get_by_text("What happened").click()
        expect(sheet.locator(".events li").first).to_be_visible()

        sheet.get_by_role("link", name="Edit launch instance").click()
        expect(sheet.get_by_role("heading", name="Edit prod")).to_be_visible()
        expect(sheet).to_contain_text("changes nothing that runs")
        page.get_by_label("Name", exact=True).fill("live")
        page.get_by_role("button", name="Save changes").click()
        expect(sheet.get_by_role("heading", name="live", exact=True)).to_be_visible()
        sheet.get_by_role("button", name="Remove launch instance").click()
        expect(page.locator(CONFIRM)).to_contain_text("Still running: version 1, 1 of 1 ready")
        page.locator(CONFIRM).get_by_role("button", name="Remove", exact=True).click()
        expect(sheet).to_have_count(0)
        expect(page.get_by_role("heading", name="Removed, but still running")).to_be_visible()
        page.get_by_role("button", name="Stop live").click()
        page.locator(CONFIRM).get_by_role("button", name="Stop", exact=True).click()
        expect(page.get_by_role("heading", name="Removed, but still running")).to_have_count(0)
        expect(page.get_by_text("There is no launch instance yet.")).to_be_visible()


def test_launches_elsewhere_promotion_and_why_something_does_not_run(
    commits: list[str], chromium: Browser, platform: Platform
) -> None:
    of = satellite(platform, "stages", commits[0], "stages/tag")
    dev = launch(
        platform, of, "dev", description="for trying", target={"kind": "workers", "labels": {"zone": "none"}}
    )
    stage = launch(platform, of, "stage")
    with console(chromium, platform, f"/console/satellites/{of}/launches") as page:
        sheet, items = page.locator(SHEET), page.get_by_role("tabpanel").get_by_role("listitem")
        expect(items).to_have_count(2)
        platform.ask("POST", f"/admin/v1/launches/{dev}/deploy")
        expect(items.filter(has_text="dev")).to_contain_text("0 of 1 readydeploying")  # by itself
        page.get_by_label("Search launch instances").fill("trying")
        expect(items).to_have_count(1)
        page.get_by_role("link", name="dev").click()
        expect(sheet.locator(".reason")).to_contain_text("zone")
        sheet.get_by_role("button", name="Promote").click()
        page.locator(CONFIRM).get_by_label("To").select_option(label="stage")
        page.get_by_role("button", name="Promote to stage").click()
        expect(page.locator(CONFIRM)).to_have_count(0)
        assert platform.ask("GET", f"/admin/v1/launches/{stage}")["desired"]["promoted_from"] == dev
        do(page, "Stop", "Stop")
        expect(page.locator(STATE)).to_contain_text("stopped")
        page.keyboard.press("Escape")

        page.get_by_role("link", name="New launch instance").click()
        page.get_by_label("Name", exact=True).fill("cluster")
        page.get_by_label("Kubernetes").check()
        page.get_by_label("Namespace", exact=True).fill("Not A Namespace")
        page.get_by_role("button", name="Create launch instance").click()
        expect(page.get_by_label("Namespace", exact=True)).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_label("Namespace", exact=True)).to_be_focused()
        page.get_by_label("Namespace", exact=True).fill("edge")
        page.get_by_role("button", name="Create launch instance").click()
        expect(sheet).to_contain_text("Kubernetes, namespace edge")
        page.mouse.click(10, 10)  # beside the sheet
        expect(sheet).to_have_count(0)
    platform.ask("POST", f"/admin/v1/launches/{stage}/stop")


def test_a_bundle_and_what_it_reports_from_elsewhere(
    commits: list[str], chromium: Browser, platform: Platform
) -> None:
    of = satellite(platform, "carried", commits[0], "carried/tag")
    with console(chromium, platform, f"/console/satellites/{of}/launches") as page:
        sheet = page.locator(SHEET)
        page.get_by_role("link", name="New launch instance").click()
        page.get_by_label("Name", exact=True).fill("ship")
        page.get_by_label("Bundle").check()
        page.get_by_role("button", name="Create launch instance").click()
        ship = platform.ask("GET", f"/admin/v1/satellites/{of}/launches?q=ship")["items"][0]["id"]
        expect(sheet).to_contain_text(f"constellation satellite {of} {ship} get <ADMIN_API_KEY>")
        expect(sheet.get_by_role("button", name="Deploy")).to_have_count(0)
        expect(page.locator(STATE)).to_contain_text("no report yet")
        entry = {
            "vanity_url": "carried/tag",
            "algorithm": commits[0],
            "desired": 1,
            "ready": 0,
            "reason": "no memory",
        }
        report = {
            **{"launch_id": ship, "deployment_id": str(uuid4()), "satellite_version": 1, "instance": "far-away"},
            **{"run": "one", "sequence": 1, "at": datetime.now(UTC).isoformat(), "entries": [entry]},
        }
        platform.ask("POST", f"/admin/v1/launches/{ship}/reports", json={"reports": [report]})
        expect(page.locator(STATE)).to_contain_text("1 gateway reports")  # by itself
        expect(sheet.locator(".entries")).to_contain_text("gateway far-away")
        expect(sheet.locator(".entries")).to_contain_text("0 of 1 ready")
        expect(sheet.locator(".reason")).to_contain_text("carried/tag: no memory", ignore_case=True)
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Launch instances", exact=True).first.click()
        page.get_by_role("link", name="ship").click()
        expect(sheet.get_by_role("heading", name="ship")).to_be_visible()


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
