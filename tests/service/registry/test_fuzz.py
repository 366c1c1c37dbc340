"""No request makes the registry fail."""

from __future__ import annotations

from typing import Any

from tests.service.registry.conftest import Platform, Starter
from tests.service.registry.test_satellites import launched, made
from tests.service.registry.test_secrets import PATH, secret
from tests.support.fuzzing import Fuzz


async def test_no_request_makes_the_registry_fail(start: Starter) -> None:
    async with start() as platform:
        known = await _world(platform)
    async with start(compile_seconds=0.05) as platform:
        callers = {
            "nobody": {},
            "its owner": {"authorization": platform.keys["joe"]},
            "another user": {"authorization": platform.keys["ann"]},
            "an administrator": {"authorization": platform.keys["root"]},
            "a worker": {"authorization": f"Bearer {platform.fakts.service_token('worker')}"},
        }
        await Fuzz(platform.app, platform.url, callers, known).run()


async def _world(platform: Platform) -> dict[str, list[str]]:
    """What there is to ask for: an algorithm with a version, secret and image, a build, a satellite, a launch."""
    algorithms: list[Any] = [await platform.create(name) for name in ("hello", "other", "third")]
    spec = await platform.built()
    await platform.publish()
    kept = await platform.ok("POST", PATH, json=secret())
    satellite = await made(platform, spec.commit)
    launch = await launched(platform, satellite)
    clone = await platform.clone("other").start()
    await clone.commit()
    await clone.push()
    image = await platform.ok("POST", "/admin/v1/images", "root", json={"revision": str(spec.id)})
    running = await platform.claim((await platform.waiting("other"))["id"])
    return {
        "owner": ["joe", "acme"],
        "name": ["hello", "other", "third"],
        "user": ["joe", "ann"],
        "algorithm_id": [one["id"] for one in algorithms],
        "algorithm": [f"joe/hello/{spec.commit}", "joe/hello/0.1.0"],
        "build_id": [str(spec.id), str(running.id)],
        "lease_token": [str(running.lease_token)],
        "revision_id": [str(spec.id)],
        "revision": [str(spec.id)],
        "revisions": [str(spec.id)],
        "image_id": [image["id"]],
        "digest": [spec.source],
        "version": ["0.1.0", spec.commit],
        "commit": [spec.commit],
        "number": ["1"],
        "secret_id": [kept["id"]],
        "satellite_id": [satellite["id"]],
        "launch_id": [launch["id"]],
        "to": [launch["id"]],
        "repository": ["hello.git", "other.git"],
        "service": ["git-upload-pack", "git-receive-pack"],
        "worker": ["w1"],
    }
