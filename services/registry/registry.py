"""The use cases of the service, put together once and shared by all routes."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import idempotency
from libs.common.blobs import Blobs
from libs.common.clients.deployer import DeployerClient
from libs.common.clients.fakts import FaktsClient
from libs.common.contracts.bundles import Bundle, BundleAwaited
from libs.common.contracts.identity import Principal
from libs.common.contracts.images import ImagesOf
from libs.common.contracts.launches import LaunchOrder
from libs.common.contracts.satellites import SatellitePlan
from libs.common.db import Database, now
from libs.common.feed import FeedPublisher
from libs.common.loops import Loop
from libs.common.problems import Conflict, Unavailable
from libs.common.service import Runtime
from services.registry import bundles, launches, plans
from services.registry.algorithms import Algorithms
from services.registry.applications import Applications
from services.registry.audit import Audit
from services.registry.builds import BuildParts, Builds
from services.registry.calls import Calls
from services.registry.catalog import Catalog
from services.registry.compilations import Compilations
from services.registry.git_backend import Limits
from services.registry.git_process import Git
from services.registry.git_slots import GitSlots
from services.registry.image_pushes import ImagePushes
from services.registry.images import Images
from services.registry.launch_statuses import LaunchStatuses
from services.registry.launches import Launches
from services.registry.models import Answered, FeedEntry, FeedVersion
from services.registry.pushes import Pushes
from services.registry.reports import Reports
from services.registry.repositories import Repositories
from services.registry.satellites import Satellites
from services.registry.secrets import Cipher, Secrets
from services.registry.settings import MIB, RegistrySettings
from services.registry.signals import Signals
from services.registry.switches import Switches
from services.registry.versions import Versions
from services.registry.work import Patience


@dataclass(frozen=True)
class Registry:
    """What the routes work with."""

    settings: RegistrySettings
    runtime: Runtime
    database: Database
    publisher: FeedPublisher
    repositories: Repositories
    git: Git
    git_limits: Limits
    blobs: Blobs
    signals: Signals
    fakts: FaktsClient
    audit: Audit
    calls: Calls
    algorithms: Algorithms
    builds: Builds
    pushes: Pushes
    compilations: Compilations
    versions: Versions
    secrets: Secrets
    satellites: Satellites
    launches: Launches
    applications: Applications
    images: Images
    image_pushes: ImagePushes
    reports: Reports
    launch_statuses: LaunchStatuses

    @classmethod
    def open(cls, settings: RegistrySettings, runtime: Runtime) -> Registry:
        """Raises RuntimeError when Fakts gave no secrets key, GitMissing when there is no git."""
        configuration = runtime.member.configuration
        if not configuration.secrets_key:
            raise RuntimeError("Fakts gave registry no secrets key; set it there")
        database = runtime.database
        assert database is not None  # noqa: S101 - a service with migrations has one
        publisher = FeedPublisher(database, FeedVersion, FeedEntry)
        catalog, audit, signals = Catalog(publisher), Audit(runtime.bus, database), Signals()
        git = Git(settings.git_limit_mib * MIB)
        repositories = Repositories(settings.data_dir / "git", git, source_limit=settings.source_limit_mib * MIB)
        blobs = Blobs(configuration.blob_url or str((settings.data_dir / "blobs").absolute()))
        builds = Builds(BuildParts(database, repositories, blobs, runtime.bus, catalog, signals), settings)
        patience = Patience(
            lease=settings.image_lease_seconds,
            attempts=settings.image_attempts,
            timeout=settings.image_timeout_seconds,
            pause=settings.image_retry_seconds,
        )
        images = Images(database, blobs, runtime.bus, patience)
        return cls(
            settings=settings,
            runtime=runtime,
            database=database,
            publisher=publisher,
            repositories=repositories,
            git=git,
            git_limits=Limits(
                body_bytes=settings.git_limit_mib * MIB,
                seconds=settings.git_seconds,
                slots=GitSlots(settings.git_processes, of_account=settings.git_processes_of_account),
            ),
            blobs=blobs,
            signals=signals,
            fakts=FaktsClient(runtime.http, runtime.member),
            audit=audit,
            calls=Calls(database),
            algorithms=Algorithms(database, repositories, catalog, audit, keep_days=settings.keep_removed_days),
            builds=builds,
            pushes=Pushes(database, repositories, builds, deadline=settings.git_seconds),
            compilations=Compilations(database, repositories, builds, signals, seconds=settings.compile_seconds),
            versions=Versions(catalog, audit),
            secrets=Secrets(Cipher(configuration.secrets_key), catalog, audit),
            satellites=Satellites(audit, runtime.directory),
            launches=Launches(audit, publisher, runtime.bus),
            applications=Applications(audit, publisher, runtime.bus),
            images=images,
            image_pushes=ImagePushes(images, database, runtime.bus, patience),
            reports=Reports(database, audit),
            launch_statuses=LaunchStatuses(DeployerClient(runtime.http, runtime.member).launches),
        )

    def loops(self) -> list[Loop]:
        """All that runs in the background."""
        return [
            self.publisher.loop,
            self.publisher.forgetting,
            *self.builds.loops(),
            self.pushes.loop,
            Switches(self.database, self.applications, self.launch_statuses).loop,
            *self.images.queue.loops(),
            *self.image_pushes.queue.loops(),
            Loop("repositories", self.algorithms.sweep, every=600.0),
            Loop("records", self._purge_records, every=300.0),
        ]

    async def launch_plan(self, launch_id: UUID, deployment_id: UUID | None) -> SatellitePlan:
        """The plan of one order of a launch, the newest one if no deployment is named, without images.

        Raises NotFound, Conflict.
        """
        async with self.database.transaction() as session:
            order = await plans.order_named(session, launch_id, deployment_id)
            return await self._render(session, order)

    async def bundle(self, launch_id: UUID, who: Principal) -> Bundle | BundleAwaited:
        """A launch's bundle, or what is still being made of it; asking orders that.

        Raises NotFound, Conflict when something that it names is gone, or an image cannot be made.
        """
        async with self.database.transaction() as session:
            launch = await launches.get(session, launch_id)
            order = await plans.of_bundle(session, launch)
            images = await self.images.of_entries(session, order.entries)
            plan = await self._render(session, order, images)
            secrets = await self.secrets.carried(session, {entry.algorithm_id for entry in order.entries})
            if images.ready:
                version = f"version {order.satellite_version}"
                self.audit.record(session, who, "launch.bundle", f"{launch.name} ({launch.id})", version)
        if failed := images.failed:
            raise Conflict(f"the bundle cannot be made: {'; '.join(bundles.named(failed, order))}")
        if not images.ready:
            return BundleAwaited(waiting=tuple(bundles.named(images.waiting, order)))
        packed = await bundles.pack(plan, secrets, self.blobs)
        signature = await self.fakts.sign_bundle(packed.sha256)
        return Bundle(index=packed.index, signature=signature, files=packed.files)

    async def _render(
        self, session: AsyncSession, order: LaunchOrder, images: ImagesOf | None = None
    ) -> SatellitePlan:
        if not self.runtime.identity.complete:
            raise Unavailable("accounts and keys are not known here yet; ask again")
        made = {UUID(key): one.digest for key, one in images.images.items() if one.digest} if images else {}
        return await plans.render(
            session,
            order,
            self.runtime.directory,
            images=made,
            gateway_image=images.gateway.digest if images and images.gateway else None,
            mothership=self.runtime.member.configuration.public_url,
        )

    async def _purge_records(self) -> None:
        await self.calls.purge(self.settings.keep_calls_days)
        await self.audit.purge(self.settings.keep_audit_days)
        await self.reports.purge(self.settings.keep_usage_days)
        async with self.database.transaction() as session:
            await idempotency.purge(session, Answered, now())
