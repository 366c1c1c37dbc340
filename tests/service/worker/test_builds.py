"""Builds by a real worker: real uv and npm, real sandbox, scripted platform."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from libs.common.contracts.catalog import Language
from libs.common.contracts.jobs import BUILD_QUEUE, BuildRequested
from services.worker.environments import artifact_digest
from tests.service.worker.packages import FolderIndex, npm_registry, source_distribution, wheel
from tests.service.worker.platform_double import Platform
from tests.service.worker.registry_double import Build
from tests.support.eventually import eventually
from tests.support.serving import bound, serving

HELLO = {
    "src/__init__.py": "",
    "src/hello.py": "def apply(input):\n    return f'Hello {input}'\n",
    "algorithmia.conf": json.dumps({"username": "joe", "algoname": "hello", "language": "python3"}),
}


def running(token: str) -> list[int]:
    """Processes whose command line has the token."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and token.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.fixture
def index(tmp_path: Path) -> FolderIndex:
    made = FolderIndex(tmp_path / "index")
    made.add("greetings", "1.0", wheel("greetings", "1.0", {"greetings.py": "WORD = 'old'\n"}))
    made.add("greetings", "1.1", wheel("greetings", "1.1", {"greetings.py": "WORD = 'Hi'\n"}, ("politeness",)))
    made.add("politeness", "2.0", wheel("politeness", "2.0", {"politeness.py": ""}))
    return made


async def test_an_algorithm_without_requirements_builds(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        build = await platform.build(HELLO, name="hello")
        assert build.artifact.lock is None
        assert build.artifact.source == build.spec.source
        assert build.artifact.digest == artifact_digest(build.spec.source, None, Language.PYTHON)
        steps = [line for line in build.log.splitlines() if line.startswith("==> ")]
        assert steps[0] == f"==> fetching the source of joe/hello at {build.spec.commit}"
        assert steps[-1] == "==> done"


async def test_requirements_are_locked_with_hashes_and_without_the_index(tmp_path: Path, index: FolderIndex) -> None:
    files = {
        **HELLO,
        "requirements.txt": "greetings\n",
        "src/hello.py": "import greetings, politeness\ndef apply(input):\n    return greetings.WORD + input\n",
    }
    async with Platform() as platform, platform.worker(tmp_path / "data", index_url=index.url):
        build = await platform.build(files, name="hello")
        assert build.artifact.lock is not None
        lock = platform.blobs[build.artifact.lock].decode()
        assert [line.split()[0] for line in lock.splitlines() if "==" in line] == [
            "greetings==1.1",
            "politeness==2.0",
        ]
        wheels = (tmp_path / "index" / "greetings" / "greetings-1.1-py3-none-any.whl").read_bytes()
        assert f"--hash=sha256:{hashlib.sha256(wheels).hexdigest()}" in lock
        assert "index" not in lock
        again = await platform.build({**files, "README.md": "changed"}, name="hello")
        assert again.artifact.lock == build.artifact.lock
        assert again.artifact.digest != build.artifact.digest


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"src/other.py": ""}, "src/hello.py is missing; there is src/other.py: the file must be called"),
        ({"src/Hello.py": ""}, "src/hello.py is missing; there is src/Hello.py, but capital letters count"),
        ({"README.md": ""}, "src/hello.py is missing"),
        ({**HELLO, "algorithmia.conf": "{"}, "algorithmia.conf is not JSON"),
        ({**HELLO, "requirements.txt": "nosuchpkg>=1\n"}, "requirement 'nosuchpkg' was not found by the resolver"),
        ({**HELLO, "requirements.txt": "greetings==9\n"}, "no version of requirement 'greetings==9' was found"),
        (
            {**HELLO, "src/hello.py": "import nosuchmodule"},
            "importing src.hello raised ModuleNotFoundError: No module",
        ),
        ({**HELLO, "src/hello.py": "def apply(:"}, "importing src.hello raised SyntaxError: invalid syntax"),
        ({**HELLO, "src/hello.py": "raise ValueError('one\\ntwo')"}, "importing src.hello raised ValueError: one"),
        ({**HELLO, "src/hello.py": "exit(3)"}, "the algorithm ended its process while it was loading: exit(3)"),
        ({**HELLO, "requirements.txt": "-r none.txt"}, "the requirements could not be resolved: failed to read from"),
        ({**HELLO, "src/hello.py": "def run(x): pass"}, "src/hello.py defines no apply function"),
        ({**HELLO, "src/hello.py": "import os; os.kill(os.getpid(), 9)"}, "loading the algorithm was killed"),
        ({**HELLO, "src/hello.py": "x = 'a' * (900 << 20)"}, "importing src.hello raised MemoryError"),
    ],
)
async def test_a_failure_has_a_reason_for_the_author(
    files: dict[str, str], reason: str, tmp_path: Path, index: FolderIndex
) -> None:
    async with Platform() as platform, platform.worker(tmp_path / "data", index_url=index.url):
        build = await platform.build(files, name="hello", memory_mib=512)
        assert build.reason.startswith(reason)
        assert "\n" not in build.reason
        assert str(tmp_path) not in build.reason
        assert f"==> failed: {reason}" in build.log


async def test_a_load_that_raises_is_a_warning_only(tmp_path: Path) -> None:
    code = "def load():\n    raise RuntimeError('no model yet')\ndef apply(input):\n    return 1\n"
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        build = await platform.build({**HELLO, "src/hello.py": code}, name="hello")
        assert build.artifact
        assert "WARNING: load() raised RuntimeError: no model yet" in build.log
        assert 'raise RuntimeError("no model yet")' in build.log or "in load" in build.log


SPY = """
import os, sys
secrets = ["the-join-token", "the-admin-key", "the-private-variable"]
seen = [repr(dict(os.environ))]
for path in [{admin!r}, {worker_id!r}, "/proc/1/environ", f"/proc/{{os.getppid()}}/environ", "/proc/self/environ"]:
    try:
        seen.append(open(path, errors="replace").read())
    except OSError as error:
        print("cannot read", path, error.strerror)
for root in ("/proc", {data!r}, "/root", "/work", "/home"):
    for folder, _, files in os.walk(root):
        if folder.count("/") > 6:
            continue
        for name in files:
            if name in ("environ", "admin.json", "worker_id", "handle.json"):
                try:
                    seen.append(open(os.path.join(folder, name), errors="replace").read())
                except OSError:
                    pass
print("SEEN", sum(map(len, seen)))
for secret in secrets:
    print("LEAK" if any(secret in text for text in seen) else "safe", secret.upper())
"""


async def test_nothing_of_the_platform_is_visible(
    tmp_path: Path, index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "admin.json").write_text("the-admin-key")
    monkeypatch.setenv("CONSTELLATION_JOIN_TOKEN", "the-join-token")
    monkeypatch.setenv("PRIVATE_VARIABLE", "the-private-variable")
    spy = SPY.format(admin=str(data / "admin.json"), worker_id=str(data / "worker_id"), data=str(data))
    setup = "from setuptools import setup\n" + spy + "\nraise SystemExit('seen enough')\n"
    index.add("spy", "1.0", source_distribution("spy", "1.0", setup), file="spy-1.0.tar.gz")
    async with Platform() as platform, platform.worker(data, index_url=index.url):
        build = await platform.build({**HELLO, "src/hello.py": spy + "\ndef apply(x):\n    return x\n"}, name="hello")
        assert build.artifact
        assert "SEEN" in build.log
        assert "LEAK" not in build.log
        assert build.log.count("safe THE-") == 3
        assert f"cannot read {data / 'admin.json'}" in build.log
        assert "cannot read /proc/1/environ" in build.log


async def test_code_of_a_requirement_is_confined_as_well(tmp_path: Path, index: FolderIndex) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "admin.json").write_text("the-admin-key")
    spy = SPY.format(admin=str(data / "admin.json"), worker_id=str(data / "worker_id"), data=str(data))
    backend = f"{spy}\nraise SystemExit('this is the end')\n"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        project += '[project]\nname = "spy"\ndynamic = ["version"]\n'
        for path, text in {"pyproject.toml": project, "backend.py": backend}.items():
            member = tarfile.TarInfo(f"spy-1.0/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    index.add("spy", "1.0", content.getvalue(), file="spy-1.0.tar.gz")
    async with Platform() as platform, platform.worker(data, index_url=index.url):
        build = await platform.build({**HELLO, "requirements.txt": "spy\n"}, name="hello")
        assert build.reason
        assert "SEEN" in build.log
        assert "LEAK" not in build.log
        assert "this is the end" in build.log


async def test_credentials_of_the_index_are_not_in_the_log(tmp_path: Path) -> None:
    listener = bound()
    url = f"http://joe:hunter2@127.0.0.1:{listener.getsockname()[1]}/simple"
    async with (
        serving(npm_registry("", "x", "1", {}), listener, grace=1),
        Platform() as platform,
        platform.worker(tmp_path / "data", index_url=url),
    ):
        build = await platform.build({**HELLO, "requirements.txt": "greetings\n"}, name="hello")
        assert "greetings" in build.reason
        assert "hunter2" not in build.log + build.reason


async def test_the_log_and_the_lease_go_on_while_a_step_runs(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        platform.gateway_answers.clear()
        code = (
            "import urllib.request\nprint('importing now', flush=True)\n"
            f"urllib.request.urlopen('{platform.gateway_url}/').read()\ndef apply(input):\n    return 1\n"
        )
        build = platform.request({**HELLO, "src/hello.py": code}, name="hello", lease_seconds=1.0)
        await platform.bus.send(BUILD_QUEUE, BuildRequested(build_id=build.spec.id))
        await eventually(lambda: "importing now" in build.log)
        assert build.result is None
        seen = build.posts
        await eventually(lambda: build.posts >= seen + 3)
        assert build.result is None
        platform.gateway_answers.set()
        await eventually(lambda: build.result)
        assert build.artifact


ESCAPE = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)  # {token}"])
    os._exit(0)
os.wait()
print("escaped", flush=True)
"""


async def test_a_build_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    code = ESCAPE.format(token="token-of-the-slow-build") + "import time\ntime.sleep(600)\n"
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        for minutes in (0.05, 0.5, 2):  # a busy machine may not come so far in three seconds
            build = platform.request({**HELLO, "src/hello.py": code}, name="hello", timeout_seconds=minutes * 60)
            await platform.bus.send(BUILD_QUEUE, BuildRequested(build_id=build.spec.id))
            await eventually(lambda: running("token-of-the-slow-build") or build.result, 180)  # noqa: B023 - at once
            came_so_far = build.result is None
            await eventually(lambda: build.result, 180)  # noqa: B023 - at once
            assert build.reason == f"the build did not end within {minutes:g} minutes"
            if came_so_far:
                break
        assert came_so_far
        assert not running("token-of-the-slow-build")


async def test_what_escapes_from_its_parent_ends_with_the_step(tmp_path: Path) -> None:
    code = ESCAPE.format(token="token-of-the-escaped") + "def apply(input):\n    return 1\n"
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        build = await platform.build({**HELLO, "src/hello.py": code}, name="hello")
        assert "escaped" in build.log
        assert build.artifact
        assert not running("token-of-the-escaped")


async def test_a_build_whose_lease_is_lost_is_dropped(tmp_path: Path) -> None:
    code = ESCAPE.format(token="token-of-the-lost-build") + "import time\ntime.sleep(600)\n"
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        build = platform.request({**HELLO, "src/hello.py": code}, name="hello")
        await platform.bus.send(BUILD_QUEUE, BuildRequested(build_id=build.spec.id))
        await eventually(lambda: running("token-of-the-lost-build"))
        build.lost = True
        await eventually(lambda: not running("token-of-the-lost-build"))
        assert build.result is None
        after = await platform.build(HELLO, name="hello")
        assert after.artifact


async def test_a_worker_that_stops_leaves_its_build_to_others(tmp_path: Path) -> None:
    code = ESCAPE.format(token="token-of-the-left-build") + "import time\ntime.sleep(600)\n"
    async with Platform() as platform:
        async with platform.worker(tmp_path / "data"):
            build = platform.request({**HELLO, "src/hello.py": code}, name="hello")
            await platform.bus.send(BUILD_QUEUE, BuildRequested(build_id=build.spec.id))
            await eventually(lambda: running("token-of-the-left-build"))
        assert not running("token-of-the-left-build")
        assert build.result is None


async def test_a_build_that_another_worker_has_is_left_alone(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        taken = platform.request(HELLO, name="hello")
        taken.claimed_by = "another"
        await platform.bus.send(BUILD_QUEUE, BuildRequested(build_id=taken.spec.id))
        build = await platform.build(HELLO, name="hello")
        assert build.artifact
        assert (taken.posts, taken.result) == (0, None)


async def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        build = await platform.build({**HELLO, "../../evil": "x"}, name="hello")
        assert build.reason == "the source has a file outside of itself: '../../evil'"
        up = "../" * 20
        links = {f"{'a/' * 20}top": up, ".npmrc": f"{'a/' * 20}top/{up}etc/hostname"}
        build = await platform.build(HELLO, name="hello", links=links)
        assert build.reason == "the source has a link to outside of itself: '.npmrc'"


async def test_damaged_source_is_found_by_its_digest(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        build = platform.request(HELLO, name="hello")
        platform.blobs[build.spec.source] += b"x"
        await platform.bus.send(BUILD_QUEUE, BuildRequested(build_id=build.spec.id))
        await eventually(lambda: build.result)
        assert "damaged" in build.reason


async def test_a_pipe_program_is_started_once(tmp_path: Path) -> None:
    program = "#!/bin/sh\necho PIPE_INIT_COMPLETE\ncat > /dev/null\n"
    files = {"bin/pipe": program, "algorithmia.conf": "{}"}
    async with Platform() as platform, platform.worker(tmp_path / "data"):
        refused = await platform.build(files, name="any", language=Language.PIPE)
        assert refused.reason.startswith("bin/pipe is not executable")
        build = await platform.build(files, name="any", language=Language.PIPE, programs=("bin/pipe",))
        assert build.artifact.lock is None
        broken = {"bin/pipe": "#!/bin/sh\necho broken >&2; exit 3\n"}
        failed = await platform.build(broken, name="any", language=Language.PIPE, programs=("bin/pipe",))
        assert failed.reason == "pipe ended with code 3 before it was ready. It printed: broken"


async def test_javascript_is_locked_and_installed_by_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = bound()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("npm_config_registry", url)
    files = {
        "package.json": json.dumps({"name": "shout", "version": "1.0.0", "dependencies": {"louder": "^1.0.0"}}),
        "src/shout.js": "const louder = require('louder');\nexports.apply = (x, done) => done(null, louder(x));\n",
    }
    registry = npm_registry(url, "louder", "1.2.3", {"index.js": "module.exports = (x) => x.toUpperCase();\n"})
    async with (
        serving(registry, listener, grace=1),
        Platform() as platform,
        platform.worker(tmp_path / "data"),
    ):
        build: Build = await platform.build(files, name="shout", language=Language.JAVASCRIPT)
        assert build.artifact.lock is not None
        lock = json.loads(platform.blobs[build.artifact.lock])
        assert lock["packages"]["node_modules/louder"]["version"] == "1.2.3"
        assert "127.0.0.1" not in json.dumps(lock)
        wrong = {**files, "src/shout.js": "exports.run = 1;\n"}
        failed = await platform.build(wrong, name="shout", language=Language.JAVASCRIPT)
        assert failed.reason.startswith("the algorithm could not be started: Error: src/shout.js exports no apply")
