"""Images: ordered, made by a worker that holds a lease, kept as blobs, given out, pushed."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import timedelta
from importlib.metadata import version as package_version
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import update

from libs.common.clients.registry import RegistryClient
from libs.common.contracts.images import ImageClaim, ImageResult, ImagesOf, ImageSpec, PushSpec, WorkState
from libs.common.contracts.jobs import ImagePushRequested, ImageRequested, image_queue
from libs.common.contracts.launches import LaunchEntry
from libs.common.db import now
from libs.common.oci.documents import LAYER, Descriptor, Platform, digest_of
from libs.common.oci.images import Image as OciImage
from libs.common.oci.images import Stacked, Start, compose, scratch
from libs.common.problems import Conflict, Unprocessable
from services.registry.images import HERE
from services.registry.models import Image, ImagePush
from tests.service.registry.conftest import Platform as Registry
from tests.service.registry.conftest import Starter
from tests.service.registry.test_builds import listened
from tests.service.registry.test_internal import member
from tests.support.eventually import eventually

RELEASE = package_version("constellation")
CLAIM = ImageClaim(worker="w1", platform=HERE, release=RELEASE)
IMAGES = "/admin/v1/images"


async def built(platform: Registry, name: str = "hello") -> str:
    """A revision's id."""
    await platform.create(name)
    return str((await platform.built(name)).id)


async def ordered(platform: Registry, /, **of: Any) -> Any:
    answer = await platform.ask("POST", IMAGES, "root", json=of)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def claimed(platform: Registry, image_id: str, /, **changes: Any) -> ImageSpec:
    asked = CLAIM.model_copy(update=changes).model_dump()
    answer = await platform.ok("POST", f"/internal/images/{image_id}/claim", "@worker", json=asked)
    return ImageSpec.model_validate(answer)


async def finished(platform: Registry, spec: ImageSpec | PushSpec, **said: Any) -> httpx.Response:
    what = "images" if isinstance(spec, ImageSpec) else "image-pushes"
    result = ImageResult(**{"lease_token": spec.lease_token, **said}).model_dump()
    return await platform.ask("POST", f"/internal/{what}/{spec.id}/result", "@worker", json=result)


async def keep(platform: Registry, content: bytes) -> str:
    """A blob as workers upload it."""
    name = hashlib.sha256(content).hexdigest()
    assert (await platform.ask("PUT", f"/internal/blobs/{name}", "@worker", content=content)).status_code == 204
    return f"sha256:{name}"


async def assembled(platform: Registry, content: bytes) -> OciImage:
    """An image of one layer, all of whose blobs are kept."""
    digest = await keep(platform, content)
    layer = Stacked(Descriptor(media_type=LAYER, digest=digest, size=len(content)), digest)
    image = compose(scratch(Platform(architecture="amd64")), [layer], Start(["/run"], "1", "/"))
    await keep(platform, image.config_bytes)
    await keep(platform, image.manifest_bytes)
    return image


async def made(platform: Registry, content: bytes = b"layer", /, **of: Any) -> Any:
    """An image that was made, as administrators see it."""
    row = await ordered(platform, **of)
    image = await assembled(platform, content)
    spec = await claimed(platform, row["id"])
    assert (await finished(platform, spec, digest=image.descriptor.digest, base="python@x")).status_code == 204
    return await platform.ok("GET", f"{IMAGES}/{row['id']}", "root")


async def changed(platform: Registry, image_id: str, **values: Any) -> None:
    async with platform.registry.database.transaction() as session:
        await session.execute(update(Image).where(Image.id == UUID(image_id)).values(**values))
    platform.registry.images.queue.loop.wake()


class TestOrders:
    async def test_an_image_is_ordered_once_and_is_a_job(self, platform: Registry) -> None:
        revision = await built(platform)
        jobs: list[ImageRequested] = []

        async def take(job: ImageRequested) -> None:
            jobs.append(job)

        async with platform.bus.consume(image_queue(HERE), take, accepts=[ImageRequested]):
            first, again = await asyncio.gather(
                ordered(platform, revision=revision), ordered(platform, revision=revision)
            )
            commit = (await platform.builds())[0]["commit_sha"]
            named = await ordered(platform, algorithm=f"joe/hello/{commit}")
            [job] = await eventually(lambda: jobs)
        assert first["id"] == again["id"] == named["id"] == str(job.image_id)
        assert first["algorithm"] == f"joe/hello/{commit}"
        assert (first["kind"], first["state"], first["digest"], first["platform"]) == (
            "revision",
            "wanted",
            None,
            HERE,
        )
        other = await ordered(platform, revision=revision, platform="linux/riscv64")
        gateway = await ordered(platform, gateway=True)
        assert (gateway["kind"], gateway["release"], gateway["revision_id"]) == ("gateway", RELEASE, None)
        listed = (await platform.ok("GET", IMAGES, "root"))["items"]
        assert [one["id"] for one in listed] == [gateway["id"], other["id"], first["id"]]
        listed = (await platform.ok("GET", f"{IMAGES}?revision={revision}&limit=1", "root"))["items"]
        assert [one["id"] for one in listed] == [other["id"]]

    async def test_what_cannot_be_is_refused(self, platform: Registry) -> None:
        revision = await built(platform)
        for asked, status in (
            ({}, 422),
            ({"revision": revision, "gateway": True}, 422),
            ({"algorithm": "joe"}, 422),
            ({"algorithm": "joe/nobody/1.0.0"}, 404),
            ({"algorithm": "joe/hello/9.9.9"}, 404),
            ({"revision": str(uuid4())}, 404),
            ({"gateway": True, "platform": "windows/amd64"}, 400),
            ({"gateway": True, "strange": 1}, 400),
        ):
            answer = await platform.ask("POST", IMAGES, "root", json=asked)
            assert answer.status_code == status, (asked, answer.text)
        assert (await platform.ask("POST", IMAGES, "joe", json={"gateway": True})).status_code == 403
        assert (await platform.ask("GET", f"{IMAGES}/{uuid4()}", "root")).status_code == 404
        assert await platform.ask("POST", f"/internal/images/{uuid4()}/claim", "@gateway", json=CLAIM.model_dump())
        row = await ordered(platform, gateway=True)
        path = f"/internal/images/{row['id']}/claim"
        assert (await platform.ask("POST", path, "@gateway", json=CLAIM.model_dump())).status_code == 403
        for change in ({"platform": "linux/riscv64"}, {"release": "0.0.1"}):
            asked = CLAIM.model_copy(update=change).model_dump()
            assert (await platform.ask("POST", path, "@worker", json=asked)).status_code == 409

    async def test_a_job_that_is_lost_is_sent_again_by_another_registry(self, start: Starter) -> None:
        async with start() as platform:
            row = await ordered(platform, gateway=True)
            await platform.registry.images.queue.hint_all()
        await platform.bus.drop(image_queue(HERE))
        jobs: list[ImageRequested] = []

        async def take(job: ImageRequested) -> None:
            jobs.append(job)

        async with platform.bus.consume(image_queue(HERE), take, accepts=[ImageRequested]), start() as platform:
            await changed(platform, row["id"], next_hint_at=None)
            await eventually(lambda: [str(job.image_id) for job in jobs] == [row["id"]])


class TestMaking:
    async def test_one_worker_makes_it_and_its_blobs_are_given_out(self, platform: Registry) -> None:
        revision = await built(platform)
        row = await ordered(platform, revision=revision)
        claims = [
            platform.ask("POST", f"/internal/images/{row['id']}/claim", "@worker", json=CLAIM.model_dump())
            for _ in range(4)
        ]
        answers = await asyncio.gather(*claims)
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
        spec = ImageSpec.model_validate(next(one.json() for one in answers if one.status_code == 200))
        assert spec.subject is not None
        assert (spec.subject.owner, spec.subject.name, str(spec.subject.revision_id)) == ("joe", "hello", revision)
        layer = os.urandom(5 << 20)
        image = await assembled(platform, layer)
        digest = image.descriptor.digest
        for _ in range(2):
            assert (await finished(platform, spec, digest=digest, base="python@sha256:1")).status_code == 204
        shown = await platform.ok("GET", f"{IMAGES}/{row['id']}", "root")
        assert (shown["state"], shown["digest"], shown["base"], shown["worker"]) == (
            "ready",
            digest,
            "python@sha256:1",
            "w1",
        )
        expected = [digest_of(layer), image.manifest.config.digest, digest]
        assert {one["digest"] for one in shown["blobs"]} == set(expected)
        assert shown["size"] == sum(one["size"] for one in shown["blobs"])
        assert (await ordered(platform, revision=revision))["state"] == "ready"
        whole = await platform.ask("GET", f"{IMAGES}/blobs/{digest}", "root")
        assert OciImage.read(whole.content, image.config_bytes) == image
        await ranges(platform, digest_of(layer), layer)

    async def test_it_must_be_here_whole(self, platform: Registry) -> None:
        row = await ordered(platform, gateway=True)
        spec = await claimed(platform, row["id"])
        image = compose(scratch(Platform(architecture="amd64")), [], Start(["/run"], "1", "/"))
        answers = [await finished(platform, spec, digest=image.descriptor.digest)]
        await keep(platform, image.manifest_bytes)
        answers.append(await finished(platform, spec, digest=image.descriptor.digest))
        answers.append(await finished(platform, spec, digest=await keep(platform, b"no manifest")))
        for answer in answers:
            assert answer.status_code == 400
            assert "is not here whole" in answer.json()["detail"]
        await keep(platform, image.config_bytes)
        assert (await finished(platform, spec, digest=image.descriptor.digest)).status_code == 204

    async def test_a_silent_worker_loses_it_to_another_one(self, start: Starter) -> None:
        async with start(image_attempts=2) as platform:
            row = await ordered(platform, gateway=True)
            lost = await claimed(platform, row["id"])
            held = {"lease_token": lost.lease_token}
            assert (
                await platform.ask("POST", f"/internal/images/{lost.id}/lease", "@worker", json=held)
            ).status_code == 204
            await changed(platform, row["id"], lease_until=now() - timedelta(seconds=1))
            await listened(platform.registry.images.queue)

            async def is_in(state: str) -> bool:
                return bool((await platform.ok("GET", f"{IMAGES}/{row['id']}", "root"))["state"] == state)

            await eventually(lambda: is_in("wanted"))
            assert (
                await platform.ask("POST", f"/internal/images/{lost.id}/lease", "@worker", json=held)
            ).status_code == 409
            assert (await finished(platform, lost, reason="late")).status_code == 409
            await claimed(platform, row["id"], worker="w2")
            await changed(platform, row["id"], lease_until=now() - timedelta(seconds=1))
            await listened(platform.registry.images.queue)
            await eventually(lambda: is_in("failed"))
            shown = await platform.ok("GET", f"{IMAGES}/{row['id']}", "root")
            assert shown["reason"] == "worker w2 was lost while it had this image, for the 2. time"
            again = await ordered(platform, gateway=True)
            assert (again["id"], again["state"], again["reason"], again["attempts"]) == (row["id"], "wanted", None, 0)

    async def test_a_failed_one_is_tried_again_for_who_waits_after_a_while(self, platform: Registry) -> None:
        row = await ordered(platform, gateway=True)
        await finished(platform, await claimed(platform, row["id"]), reason="there is no base")

        async def asked() -> ImagesOf:
            async with platform.registry.database.transaction() as session:
                return await platform.registry.images.of_entries(session, [])

        found = await asked()
        assert found.gateway is not None
        assert (found.gateway.state, found.ready) == (WorkState.FAILED, False)
        assert found.waiting == ["the image for gateways failed: there is no base"]
        await changed(platform, row["id"], finished_at=now() - timedelta(seconds=61))
        assert (await asked()).waiting == ["the image for gateways waits for a worker"]

    async def test_it_is_made_anew_on_demand_and_stays_usable_meanwhile(self, platform: Registry) -> None:
        first = await made(platform, b"one", gateway=True)
        renewed = await ordered(platform, gateway=True, renew=True)
        assert (renewed["state"], renewed["digest"]) == ("wanted", first["digest"])
        second = await made(platform, b"two", gateway=True)
        assert (second["id"], second["state"]) == (first["id"], "ready")
        assert second["digest"] != first["digest"]
        for digest in (first["digest"], second["digest"]):
            assert (await platform.ask("GET", f"{IMAGES}/blobs/{digest}", "root")).status_code == 200

    async def test_what_a_satellite_consists_of(self, platform: Registry) -> None:
        revision = UUID(await built(platform))
        gone = uuid4()
        entries = [
            LaunchEntry(
                vanity_url=f"a/{n}",
                owner="joe",
                name="hello",
                commit="a" * 40,
                algorithm_id=uuid4(),
                revision_id=one,
                replicas=1,
            )
            for n, one in enumerate((revision, revision, gone))
        ]

        async def asked(*some: LaunchEntry) -> ImagesOf:
            async with platform.registry.database.transaction() as session:
                return await platform.registry.images.of_entries(session, some)

        found = await asked(*entries)
        assert set(found.images) == {str(revision), str(gone)}
        assert found.images[str(revision)].state is WorkState.WANTED
        assert f"there is no revision {gone}" in (found.images[str(gone)].reason or "")
        image, gateway = await made(platform, revision=str(revision)), await made(platform, b"g", gateway=True)
        found = await asked(*entries[:2])
        assert found.ready
        assert found.waiting == []
        assert found.images[str(revision)].digest == image["digest"]
        assert found.gateway is not None
        assert found.gateway.digest == gateway["digest"]


class TestPushing:
    async def test_a_push_is_a_job_too(self, platform: Registry) -> None:
        row = await ordered(platform, gateway=True)
        path = f"{IMAGES}/{row['id']}/push"
        early = await platform.ask("POST", path, "root", json={"to": "r.example/a"})
        assert early.status_code == 409
        image = await made(platform, gateway=True)
        jobs: list[ImagePushRequested] = []

        async def take(job: ImagePushRequested) -> None:
            jobs.append(job)

        async with platform.bus.consume(image_queue(HERE), take, accepts=[ImagePushRequested]):
            pushes = [await platform.ok("POST", path, "root", json={"to": "r.example/a"}) for _ in range(2)]
            await eventually(lambda: [str(job.push_id) for job in jobs] == [pushes[0]["id"]])
        assert pushes[0] == pushes[1]
        hexadecimal = image["digest"].removeprefix("sha256:")
        assert pushes[0]["to"] == f"r.example/a:gateway.{RELEASE}.{hexadecimal[:12]}"
        asked = CLAIM.model_dump()
        answer = await platform.ok("POST", f"/internal/image-pushes/{pushes[0]['id']}/claim", "@worker", json=asked)
        spec = PushSpec.model_validate(answer)
        assert (spec.digest, spec.reference) == (image["digest"], pushes[0]["to"])
        held = {"lease_token": spec.lease_token}
        renewed = await platform.ask("POST", f"/internal/image-pushes/{spec.id}/lease", "@worker", json=held)
        assert renewed.status_code == 204
        for _ in range(2):
            assert (await finished(platform, spec, reason="r.example is away")).status_code == 204
        [shown] = (await platform.ok("GET", f"{IMAGES}/{row['id']}", "root"))["pushes"]
        assert (shown["state"], shown["reason"]) == ("failed", "r.example is away")
        assert (await platform.ok("POST", path, "root", json={"to": "r.example/a"}))["state"] == "wanted"
        for to in ("", "R.example/A", f"r.example/a@{image['digest']}"):
            answer = await platform.ask("POST", path, "root", json={"to": to})
            assert answer.status_code in (400, 422), to

    async def test_who_waits_for_images_in_a_registry_asks_again(self, platform: Registry) -> None:
        revision = UUID(await built(platform))
        async with member(platform, "deployer") as (http, joined):
            client = RegistryClient(http, joined)

            async def asked(to: str = "127.0.0.1:5000") -> ImagesOf:
                return await client.images_at(to, [revision])

            found = await asked()
            assert not found.ready
            assert [str(revision)] == list(found.images)
            for name, of in ((b"a", {"revision": str(revision)}), (b"g", {"gateway": True})):
                await made(platform, name, **of)
            found = await asked()
            assert (found.ready, found.pushed) == (True, False)
            assert len(found.waiting_for_push) == 2
            async with platform.registry.database.transaction() as session:
                values = {"state": WorkState.READY, "finished_at": now()}
                await session.execute(update(ImagePush).values(values))
            found = await asked()
            assert found.pushed
            status = found.images[str(revision)]
            assert status.reference == f"127.0.0.1:5000/constellation@{status.digest}"
            assert (await asked("r.example/other")).waiting_for_push
            with pytest.raises(Unprocessable, match="name a repository"):
                await asked("No Registry")

    async def test_leases_are_kept_through_the_client(self, platform: Registry) -> None:
        row = await ordered(platform, gateway=True)
        async with member(platform, "worker") as (http, joined):
            client = RegistryClient(http, joined)
            spec = await client.claim_image(UUID(row["id"]), CLAIM)
            await client.renew_image(spec)
            await client.finish_image(spec, ImageResult(lease_token=spec.lease_token, reason="no"))
            assert (await platform.ok("GET", f"{IMAGES}/{row['id']}", "root"))["reason"] == "no"
            with pytest.raises(Conflict, match="drop the work"):
                await client.renew_image(spec)
            assert not await client.has_blob("0" * 64)
            assert await client.has_blob((await keep(platform, b"x")).removeprefix("sha256:"))


async def ranges(platform: Registry, digest: str, content: bytes) -> None:
    """A blob of an image is given out in parts; others are not."""
    path = f"{IMAGES}/blobs/{digest}"

    async def asked(who: str = "root", **headers: str) -> httpx.Response:
        return await platform.ask("GET", path, who, headers={k.replace("_", "-"): v for k, v in headers.items()})

    whole = await asked()
    assert (whole.status_code, whole.content) == (200, content)
    assert (whole.headers["etag"], whole.headers["accept-ranges"]) == (f'"{digest}"', "bytes")
    head = await platform.ask("HEAD", path, "root")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
    part = await asked(range="bytes=1000000-3999999")
    assert (part.status_code, part.content) == (206, content[1000000:4000000])
    assert part.headers["content-range"] == f"bytes 1000000-3999999/{len(content)}"
    rest = await asked(range=f"bytes={len(content) - 3}-", if_range=f'"{digest}"')
    assert (rest.status_code, rest.content) == (206, content[-3:])
    assert (await asked(range="bytes=0-0", if_range='"other"')).status_code == 200
    beyond = await asked(range=f"bytes={len(content)}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(content)}")
    assert (await asked(if_none_match=f'"{digest}"')).status_code == 304
    assert (await asked("joe")).status_code == 403
    other = await keep(platform, b"the source of somebody's algorithm")
    for stranger in (other, other.removeprefix("sha256:"), "sha256:x"):
        assert (await platform.ask("GET", f"{IMAGES}/blobs/{stranger}", "root")).status_code == 404
