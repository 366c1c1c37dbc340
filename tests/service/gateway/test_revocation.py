"""What fakts takes back is refused by a running gateway, and what it changes is what counts."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from libs.common.contracts.catalog import Callability
from libs.common.contracts.identity import Permissions, Role
from tests.service.gateway.conftest import Platform, running_platform
from tests.service.gateway.doubles import entry, revision
from tests.support.eventually import UNASKED, eventually


async def becomes(platform: Platform, status: int, reference: str = "joe/echo", **options: str) -> None:
    """Wait until a call is answered so."""

    async def is_answered() -> bool:
        return (await platform.call(reference, **options)).status == status

    await eventually(is_answered, UNASKED)


async def test_members_keys_and_tokens_follow_what_fakts_says(platform: Platform) -> None:
    fakts = platform.fakts
    fakts.add_organization("lab")
    member = fakts.add_account("mia", organizations={"lab": Role.EXECUTOR})
    private = platform.registry.publish(entry("lab", "hidden", revision("0.1.0", callability=Callability.PRIVATE)))
    await platform.routed(algorithm=private)
    key = fakts.add_key("mia", permissions=Permissions(allow_algo=True), raw="simMIA+AAAA/AAAAAAAAAAAAAA1")
    token = f"Bearer {fakts.user_token('mia', 'algo:call')}"
    foreign = f"Bearer {fakts.foreign_token(fakts.trust('https://id.example'), member)}"
    for credential in (key, token, foreign):
        await becomes(platform, 200, "lab/hidden/0.1.0", key=credential)

    fakts.add_account("mia")
    for credential in (key, token, foreign):
        await becomes(platform, 404, "lab/hidden/0.1.0", key=credential)
    fakts.add_account("mia", organizations={"lab": Role.MEMBER})
    for credential in (key, token, foreign):
        await becomes(platform, 200, "lab/hidden/0.1.0", key=credential)

    fakts.add_key("mia", permissions=Permissions(allow_algo=True, algo_acl=("algo://joe/*",)), raw=key)
    await becomes(platform, 403, "lab/hidden/0.1.0", key=key)
    fakts.add_account("mia", active=False, organizations={"lab": Role.MEMBER})
    for credential in (key, token, foreign):
        await becomes(platform, 401, "lab/hidden/0.1.0", key=credential)


async def test_tokens_of_trusted_issuers_end_with_the_trust(platform: Platform) -> None:
    fakts = platform.fakts
    await platform.routed()
    trusted = fakts.trust("https://id.example")
    token = f"Bearer {fakts.foreign_token(trusted, fakts.accounts['joe'])}"
    await becomes(platform, 200, key=token)
    asked = fakts.exchanged
    for _ in range(3):
        assert (await platform.call(key=token)).status == 200
    assert fakts.exchanged == asked, "once is enough"
    joe = fakts.accounts["joe"]
    unknown = fakts.foreign_token(trusted, joe, sub=str(joe.id), preferred_username="joe", scope="algo:call admin")
    del fakts.vouched[unknown]
    assert (await platform.call(key=f"Bearer {unknown}")).status == 401, "its own words say nothing here"
    short = f"Bearer {fakts.foreign_token(trusted, joe, seconds=0.5)}"
    await becomes(platform, 401, key=short)
    fakts.distrust(trusted)
    await becomes(platform, 401, key=token)


async def test_while_fakts_is_down_what_it_vouched_for_goes_on_and_nothing_new_comes_in(tmp_path: Path) -> None:
    async with AsyncExitStack() as outer:
        async with running_platform(tmp_path) as platform:
            replica = await outer.enter_async_context((await platform.replica()).serve(tmp_path))
            platform.route(replica)
            trusted = platform.fakts.trust("https://id.example")
            joe = platform.fakts.accounts["joe"]
            known, new = (f"Bearer {platform.fakts.foreign_token(trusted, joe)}" for _ in range(2))
            await outer.enter_async_context(platform.serving())
            await becomes(platform, 200, key=known)
        assert (await platform.call(key=known)).status == 200
        assert (await platform.call(key=platform.key)).status == 200
        reply = await platform.call(key=new)
        assert (reply.status, "retry-after" in reply.headers) == (503, True)
