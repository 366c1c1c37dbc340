"""The published Python clients against the registry, each in an interpreter of its own."""

from __future__ import annotations

import asyncio
import json
import textwrap
from typing import Any

from tests.service.registry.conftest import SETTINGS, Platform
from tests.support.clients import algorithmia_python

PRELUDE = """
import contextlib, io, json, sys, os
asked = json.load(sys.stdin)
with contextlib.redirect_stdout(io.StringIO()):
    import Algorithmia
    from Algorithmia.errors import AlgorithmException
    client = Algorithmia.client(asked["key"], asked["url"])
    algorithm = client.algo("joe/hello")
    def refused(function, *arguments, **named):
        try:
            function(*arguments, **named)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        raise AssertionError("this should have been refused")
    def as_dict(model):
        return json.loads(json.dumps(model.to_dict(), default=str))
"""


async def run(platform: Platform, version: str, program: str, *, key: str = "joe") -> Any:
    """What a program leaves in `answer`. It has the names of the prelude."""
    python = await asyncio.to_thread(algorithmia_python, version)
    indented = textwrap.indent(textwrap.dedent(program), "    ")
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-c",
        f"{PRELUDE}{indented}\nprint(json.dumps(answer))",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(platform.folder)},
    )
    document = {"url": platform.url, "key": platform.keys[key], "settings": SETTINGS}
    output, errors = await asyncio.wait_for(process.communicate(json.dumps(document).encode()), 120)
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


async def test_from_create_to_a_published_version(platform: Platform) -> None:
    answer = await run(
        platform,
        "2.0.5",
        """
        answer = {
            "before": algorithm.exists(),
            "created": algorithm.create({"label": "Hello"}, asked["settings"]),
            "again": refused(algorithm.create, {"label": "Hello"}, asked["settings"]),
            "exists": algorithm.exists(),
            "id": algorithm.get_algorithm_id(),
            "early": refused(algorithm.publish, {"label": "Hello"}, {}),
            "builds": algorithm.get_builds(),
            "scm": algorithm.get_scm_status(),
        }
        """,
    )
    created = answer["created"]
    assert (answer["before"], answer["exists"], answer["id"]) == (False, True, created["id"])
    assert (created["name"], created["resource_type"]) == ("hello", "algorithm")
    assert "409" in answer["again"]
    assert "400" in answer["early"]
    assert (answer["builds"]["results"], answer["scm"]) == ([], {"scm_connection_status": "active"})

    compiling = asyncio.create_task(run(platform, "2.0.5", "answer = algorithm.compile()"))
    spec = await platform.build()
    compiled = await compiling
    assert (compiled["version_info"]["git_hash"], compiled["compilation"]["successful"]) == (spec.commit, True)

    answer = await run(
        platform,
        "2.0.5",
        """
        release = {"version_type": "minor", "release_notes": "first", "sample_input": "Mia"}
        published = algorithm.publish({"label": "Hello"}, {"algorithm_callability": "private"}, release)
        build = algorithm.get_builds()["results"][0]
        answer = {
            "published": published,
            "again": refused(algorithm.publish, {"label": "Hello"}, {"algorithm_callability": "private"}),
            "info": algorithm.info(published["version_info"]["git_hash"]),
            "infos": algorithm.info(),
            "listed": algorithm.versions(limit=10, published=True, callable=True),
            "versions": algorithm.versions(limit=10, published=True),
            "build": algorithm.get_build(build["build_id"]),
            "logs": algorithm.get_build_logs(build["build_id"]),
            "unchanged": algorithm.update(details={"label": "New"}, settings={"license": "apl"}),
            "deleted": client.deleteHelper("/v1/algorithms/joe/hello").status_code,
            "exists": algorithm.exists(),
        }
        """,
    )
    assert answer["published"]["version_info"]["semantic_version"] == "0.1.0"
    assert "409" in answer["again"]
    assert answer["info"]["version_info"]["semantic_version"] == "0.1.0"
    assert [one["version_info"]["git_hash"] for one in answer["versions"]["results"]] == [spec.commit]
    assert answer["versions"]["marker"] is None
    assert (answer["listed"]["results"], len(answer["infos"]["results"])) == ([], 1)
    assert (answer["build"]["commit_sha"], answer["build"]["status"]) == (spec.commit, "succeeded")
    assert answer["logs"] == {"logs": "building\n"}
    assert (answer["unchanged"]["id"], answer["unchanged"]["details"]) == (created["id"], {"label": "Hello"})
    assert (answer["deleted"], answer["exists"]) == (204, False)


async def test_a_failing_compile_is_repeated_and_built_once(platform: Platform) -> None:
    await platform.create()
    compiling = asyncio.create_task(run(platform, "2.0.5", "answer = refused(algorithm.compile)"))
    await platform.build(reason="no such package")
    assert "400" in await compiling
    assert len(await platform.builds()) == 1


async def test_secrets_errors_environments_and_the_rest(platform: Platform) -> None:
    await platform.create()
    answer = await run(
        platform,
        "2.0.5",
        """
        environment = client.get_environment("python3")["environments"][0]
        folder = os.path.join(os.environ["HOME"], "template")
        answer = {
            "made": algorithm.set_secret("short", "NAME", "hunter2", "why"),
            "secrets": algorithm.get_secrets(),
            "languages": [language["name"] for language in client.get_supported_languages()],
            "template": client.get_template(environment["environment_specification_id"], folder).ok,
            "files": sorted(os.listdir(folder)),
            "scms": [scm["id"] for scm in client.scms()["results"]],
            "errors": client.get_algorithm_errors(algorithm.get_algorithm_id()),
            "of_joe": client.get_user_errors("joe"),
            "of_acme": client.get_organization_errors("acme"),
            "unknown": refused(client.get_algorithm_errors, "hello"),
        }
        """,
    )
    assert answer["secrets"]["results"] == [answer["made"]]
    assert "hunter2" not in json.dumps(answer)
    assert answer["languages"][0] == "python3"
    assert (answer["template"], {"algorithmia.conf", "src"} <= set(answer["files"])) == (True, True)
    assert answer["scms"] == ["internal"]
    assert answer["errors"] == answer["of_joe"] == answer["of_acme"] == []
    assert answer["unknown"] == "AlgorithmException: 'No such algorithm'"


async def test_others_are_told_that_there_is_nothing(platform: Platform) -> None:
    await platform.create()
    program = """
        calls = (algorithm.info, algorithm.get_builds, algorithm.publish)
        answer = [algorithm.exists(), *(refused(call) for call in calls)]
    """
    exists, *refusals = await run(platform, "2.0.5", program, key="ann")
    assert exists is False
    assert refusals[:2] == ["AlgorithmException: 'No such algorithm'"] * 2
    assert "404" in refusals[2]


async def test_the_client_that_algorithms_pin(platform: Platform) -> None:
    """1.17.0 checks the enumerations of answers with models made from the published specification."""
    answer = await run(
        platform,
        "1.17.0",
        """
        created = algorithm.create(details={"label": "Hello"}, settings=asked["settings"])
        updated = algorithm.update(details={"label": "New"}, settings={"network_access": "isolated"})
        answer = {"created": as_dict(created), "updated": as_dict(updated)}
        """,
    )
    assert answer["created"]["name"] == "hello"
    assert answer["updated"]["details"]["label"] == "New"
    compiling = asyncio.create_task(run(platform, "1.17.0", "answer = as_dict(algorithm.compile())"))
    spec = await platform.build()
    assert (await compiling)["version_info"]["git_hash"] == spec.commit
    answer = await run(
        platform,
        "1.17.0",
        """
        published = algorithm.publish(version_info={"version_type": "minor"})
        commit = published["version_info"]["git_hash"]
        build_id = published["build"]["build_id"]
        answer = {
            "version": published["version_info"]["semantic_version"],
            "info": as_dict(algorithm.info()),
            "by_hash": as_dict(algorithm.info(commit)),
            "build": as_dict(algorithm.get_build(build_id)),
            "logs": as_dict(algorithm.get_build_logs(build_id)),
            "scm": as_dict(algorithm.get_scm_status()),
        }
        """,
    )
    assert answer["version"] == "0.1.0"
    assert answer["info"]["version_info"]["git_hash"] == answer["by_hash"]["version_info"]["git_hash"] == spec.commit
    assert (answer["build"]["status"], answer["build"]["version_info"]["semantic_version"]) == ("succeeded", "0.1.0")
    assert answer["logs"]["logs"] == "building\n"
    assert answer["scm"]["scm_connection_status"] == "active"
