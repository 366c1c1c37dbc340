"""The console, as administrators use it: launch instances, and what runs of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import uuid4

from playwright.sync_api import Browser, expect

from tests.browser.console import CONFIRM, SHEET, STATE, console, do, launch, satellite
from tests.browser.platform import Platform


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
        for act in ("Deploy again", "Roll back"):
            expect(sheet.get_by_role("button", name=act)).to_have_count(0)
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
        expect(page.locator(CONFIRM)).to_contain_text("Only what is deployed is promoted")
        expect(page.get_by_role("button", name="Promote to stage")).to_be_disabled()
        page.locator(CONFIRM).get_by_role("button", name="Cancel").click()
        do(page, "Stop", "Stop")
        expect(page.locator(STATE)).to_contain_text("stopped")
        page.keyboard.press("Escape")
        page.get_by_label("Search launch instances").fill("")
        platform.ask("POST", f"/admin/v1/launches/{stage}/deploy")
        page.get_by_role("link", name="stage").click()
        expect(page.locator(STATE)).to_contain_text("deployed1 of 1 replicas ready")
        sheet.get_by_role("button", name="Promote").click()
        page.locator(CONFIRM).get_by_label("To").select_option(label="dev")
        page.get_by_role("button", name="Promote to dev").click()
        expect(page.locator(CONFIRM)).to_have_count(0)
        assert platform.ask("GET", f"/admin/v1/launches/{dev}")["desired"]["promoted_from"] == stage
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
    for one in (dev, stage):
        platform.ask("POST", f"/admin/v1/launches/{one}/stop")


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
