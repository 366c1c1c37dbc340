"""Builds revisions: check the repository, lock, install, import once; all that is not the worker's own, confined.

A build is held by a lease that the posts of its log renew. A worker that loses the lease, or ends, leaves the
build to whoever claims it next.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path
from time import perf_counter

from libs.common import logs, problems
from libs.common.clients.registry import RegistryClient
from libs.common.contracts.builds import BuildResult, BuildSpec
from libs.common.contracts.catalog import Artifact, Language
from libs.common.contracts.jobs import BuildRequested
from services.worker import metrics, repository
from services.worker.build_log import LeaseLost, LogStream
from services.worker.environments import (
    BlobDamaged,
    Environments,
    LanguageMissing,
    Prepared,
    artifact_digest,
    download,
)
from services.worker.node_packages import NodePackages
from services.worker.programs import Programs
from services.worker.python_packages import PythonPackages, RequirementsFailed
from services.worker.repository import NotAnAlgorithm
from services.worker.runner.check import LOAD_RAISED
from services.worker.steps import StepFailed, Steps, Workspace
from services.worker.trees import BadArchive, unpack
from services.worker.under_way import UnderWay

log = logs.get(__name__)

LOAD_TIMEOUT_SECONDS = 300.0
_FINISH_ATTEMPTS = 30
_PAUSE_SECONDS = 2.0
_CONTINUED = "\\"
_TRACEBACK = "Traceback (most recent call last)"
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(: .*)?$")


class BuildFailed(Exception):
    """Why, in a sentence for the author of the algorithm."""


class Builder:
    """Runs the builds that this worker claims."""

    def __init__(
        self,
        registry: RegistryClient,
        worker_id: str,
        *,
        steps: Steps,
        environments: Environments,
        programs: Programs,
        python: PythonPackages,
        node: NodePackages | None,
    ) -> None:
        self._registry = registry
        self._worker_id = worker_id
        self._steps = steps
        self._environments = environments
        self._programs = programs
        self._python = python
        self._node = node
        self._under_way = UnderWay()
        self.abandon = self._under_way.abandon

    async def handle(self, message: BuildRequested) -> None:
        """Claim and run a build, unless somebody else has it.

        Raises problems.Unavailable without a registry, and from a worker that ends: the job is for another one.
        """
        self._under_way.check()
        try:
            spec = await self._registry.claim_build(message.build_id, self._worker_id)
        except (problems.Conflict, problems.NotFound) as refused:
            log.info("build_not_claimed", build=str(message.build_id), reason=refused.detail)
            return
        await self._under_way.run(self.run(spec))

    async def run(self, spec: BuildSpec) -> None:
        """Run a claimed build and report how it ended."""
        stream = LogStream(self._registry, spec)
        started = perf_counter()
        log.info("build_started", build=str(spec.id), algorithm=f"{spec.owner}/{spec.name}", commit=spec.commit)
        posting = asyncio.create_task(stream.run())
        building = asyncio.create_task(self._outcome(spec, stream))
        try:
            await asyncio.wait({posting, building}, return_when=asyncio.FIRST_COMPLETED)
            if not building.done():
                posting.result()
            result = building.result()
            posting.cancel()
            await self._finish(spec, stream, result)
        except LeaseLost as lost:
            log.warning("build_lease_lost", build=str(spec.id), reason=str(lost))
            metrics.BUILDS.labels(spec.language, "lost").inc()
            return
        except problems.Problem as error:
            log.warning("build_given_up", build=str(spec.id), reason=error.detail)
            metrics.BUILDS.labels(spec.language, "lost").inc()
            return
        finally:
            for task in (posting, building):
                task.cancel()
            await asyncio.gather(posting, building, return_exceptions=True)
        outcome = "succeeded" if result.succeeded else "failed"
        metrics.BUILDS.labels(spec.language, outcome).inc()
        metrics.BUILD_SECONDS.labels(spec.language).observe(perf_counter() - started)
        log.info("build_ended", build=str(spec.id), outcome=outcome, reason=result.reason)

    async def _outcome(self, spec: BuildSpec, stream: LogStream) -> BuildResult:
        try:
            async with asyncio.timeout(spec.timeout_seconds):
                artifact = await self._build(spec, stream)
        except TimeoutError:
            reason = f"the build did not end within {spec.timeout_seconds / 60:g} minutes"
        except (BuildFailed, NotAnAlgorithm, RequirementsFailed, BadArchive, BlobDamaged, LanguageMissing) as failed:
            reason = str(failed)
        except problems.Problem:
            raise
        except Exception as fault:
            log.exception("build_fault", build=str(spec.id))
            reason = f"the worker could not carry out the build: {type(fault).__name__}: {fault}"
        else:
            stream.step("done")
            return BuildResult(lease_token=spec.lease_token, succeeded=True, artifact=artifact)
        stream.step(f"failed: {reason}")
        return BuildResult(lease_token=spec.lease_token, succeeded=False, reason=reason)

    async def _build(self, spec: BuildSpec, stream: LogStream) -> Artifact:
        async with self._steps.workspace(spec.owner) as place:
            stream.step(f"fetching the source of {spec.owner}/{spec.name} at {spec.commit}")
            archive, source = place.folder / "source.tar", place.folder / "source"
            await download(self._registry.read_blob, spec.source, archive)
            source.mkdir()
            await asyncio.to_thread(unpack, archive, source)
            stream.step("checking the repository")
            for remark in await asyncio.to_thread(repository.check, source, spec.language, spec.name):
                stream.say(f"note: {remark}\n")
            stream.step("resolving requirements")
            lock = await self._lock(spec, place, source, stream)
            local = {spec.source: archive}
            digest = None
            if lock is not None:
                digest = hashlib.sha256(lock).hexdigest()
                local[digest] = place.folder / f"{digest}.lock"
                local[digest].write_bytes(lock)
                stream.say(_pinned(lock) if spec.language is Language.PYTHON else "")
                await self._registry.write_blob(digest, local[digest])
            artifact = Artifact(
                source=spec.source, lock=digest, digest=artifact_digest(spec.source, digest, spec.language)
            )
            stream.step("installing requirements")
            user = f"build-{spec.id}"
            prepared = await self._environments.prepare(
                artifact, spec.language, spec.owner, user=user, say=stream.say, local=local
            )
            try:
                stream.step("loading the algorithm once")
                await self._check(spec, place, prepared, stream)
            finally:
                self._environments.release(prepared, user)
            return artifact

    async def _lock(self, spec: BuildSpec, place: Workspace, source: Path, stream: LogStream) -> bytes | None:
        if spec.language is Language.PYTHON:
            return await self._python.lock(place, source, stream.say) or None
        if spec.language is Language.JAVASCRIPT:
            if self._node is None:
                raise LanguageMissing("this worker has no Node.js; install it and npm, or set CONSTELLATION_NODE")
            return await self._node.lock(place, source, stream.say)
        stream.say("a pipe algorithm brings what it needs\n")
        return None

    async def _check(self, spec: BuildSpec, place: Workspace, prepared: Prepared, stream: LogStream) -> None:
        """Import, and load(), as a replica would, with the network and without secrets.

        An algorithm that cannot be imported fails. One whose load() raises does not: it may need what only
        exists when it runs, such as its secrets.
        """
        program = self._programs.of(spec.language, spec.name, prepared)
        description = {
            **program.members,
            "load_timeout": LOAD_TIMEOUT_SECONDS,
            "private_tmp": self._steps.private_tmp,
            "pipeline": False,
        }
        file = place.folder / "check.json"
        file.write_text(json.dumps(description))
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_SECONDS + 10):
                await self._steps.run(
                    place,
                    program.command("--check", str(file)),
                    cwd=prepared.tree,
                    environment=program.environment,
                    readable=program.readable,
                    say=stream.say,
                    use_cache=False,
                    memory_mib=spec.memory_mib,
                )
        except TimeoutError:
            raise BuildFailed(f"the algorithm did not load within {LOAD_TIMEOUT_SECONDS:.0f} seconds") from None
        except StepFailed as failed:
            if failed.status == LOAD_RAISED:
                stream.say(
                    f"\nWARNING: load() raised {_exception(failed.output)}\n"
                    "WARNING: The build goes on, because load() may need what only exists when the algorithm runs,\n"
                    "WARNING: such as its secrets. If it raises there too, every call ends with a LoadingError.\n"
                )
                return
            raise BuildFailed(_load_reason(spec, failed).replace(f"{prepared.tree}/", "")) from failed

    async def _finish(self, spec: BuildSpec, stream: LogStream, result: BuildResult) -> None:
        """Raises LeaseLost, or problems.Unavailable when the registry stays away."""
        for attempt in range(_FINISH_ATTEMPTS):
            try:
                if await stream.post():
                    await self._registry.finish_build(spec.id, result)
                    return
            except (problems.Conflict, problems.NotFound) as error:
                raise LeaseLost(error.detail) from error
            except problems.Unavailable as error:
                if attempt == _FINISH_ATTEMPTS - 1:
                    raise
                log.info("build_result_not_posted", reason=error.detail)
            await asyncio.sleep(_PAUSE_SECONDS)
        raise problems.Unavailable("the registry did not take the result of the build")


def _pinned(lock: bytes) -> str:
    """The packages of a lock, without their hashes."""
    lines = lock.decode(errors="replace").splitlines()
    return "".join(f"  {line.removesuffix(_CONTINUED).rstrip()}\n" for line in lines if line[:1].strip())


def _load_reason(spec: BuildSpec, failed: StepFailed) -> str:
    """The check's last words, as one sentence."""
    if failed.status == 137:
        return f"loading the algorithm was killed; it may need more than {spec.memory_mib} MiB of memory"
    said = _exception(failed.output)
    kind, _, message = said.partition(": ")
    if kind == "LoadingError" and message:
        return message
    if spec.language is Language.PYTHON:
        return f"importing src.{spec.name} raised {said}"
    return f"the algorithm could not be started: {said}"


def _exception(output: str) -> str:
    """The exception and the first line of its message, from the last stack trace; else the last line."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    traces = [number for number, line in enumerate(lines) if line.startswith(_TRACEBACK)]
    if traces:
        named = [line for line in lines[traces[-1] + 1 :] if not line[0].isspace()][:1]
    else:
        named = [line for line in lines if _EXCEPTION.match(line)]
    return (named or lines or ["something that it did not name"])[-1][:500]
