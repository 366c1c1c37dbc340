"""`constellation satellite SATELLITE_ID LAUNCH_ID ...`: a satellite's bundle, from the platform to where it runs.

Only `get` needs the platform. All others work on the bundle's folder, which may have been copied to another machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from typer.core import TyperGroup

from constellation.cli import connection, logins
from constellation.cli.command import explained
from constellation.cli.connection import Failed
from constellation.cli.output import Output

if TYPE_CHECKING:
    from constellation.bundle.content import Content
    from constellation.bundle.folder import BundleFolder

VERBS = ("get", "configure", "deploy", "run", "verify", "show")
EPILOG = "Bundles: satellite SATELLITE_ID LAUNCH_ID " + "|".join(VERBS)

app = typer.Typer(help="Carry a launch of a satellite away, and run it elsewhere.", no_args_is_help=True)

Dir = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="The bundle's folder. Default: ./deployment/current/satellite/SATELLITE_ID/LAUNCH_ID",
    ),
]
TrustedKey = Annotated[
    str | None,
    typer.Option("--key", metavar="THUMBPRINT", help="Accept only what is signed with this key; 'get' shows it."),
]


class SatelliteGroup(TyperGroup):
    """Takes `SATELLITE_ID LAUNCH_ID VERB` besides its own commands. No command is named like an id."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and _is_id(args[0]):
            return "", typer.main.get_command(app), args
        if len(args) > 2 and args[2] in VERBS and args[0] not in self.commands:
            ctx.fail(f"'{args[0]}' is no id of a satellite; `satellite ls` shows them")
        return super().resolve_command(ctx, args)


@dataclass(frozen=True)
class Named:
    """Which bundle is meant."""

    satellite_id: str
    launch_id: str


@app.callback()
def named(
    context: typer.Context,
    satellite_id: Annotated[str, typer.Argument(metavar="SATELLITE_ID", help="The satellite's id.")],
    launch_id: Annotated[str, typer.Argument(metavar="LAUNCH_ID", help="The launch instance's id.")],
) -> None:
    """Carry a launch of a satellite away, and run it elsewhere."""
    if not _is_id(launch_id):
        context.fail(f"'{launch_id}' is no id of a launch; `launch ls` shows them")
    context.meta[__name__] = Named(satellite_id.lower(), launch_id.lower())


@app.command("get")
def get(
    context: typer.Context,
    api_key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            help=f"An admin key. Better in {connection.ADMIN_API_KEY}: other users see command lines.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help=f"Address of the platform. Else {connection.URL}, or that of the last get.")
    ] = None,
    folder: Dir = None,
    key: TrustedKey = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data directory of a platform that runs here.")] = None,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for what is still being made.")] = 3600,
) -> None:
    """Fetch the bundle, or what is new of it. Goes on where an earlier get was interrupted."""
    with _said(), _opened(context, folder, make=True) as (bundle, which):
        from constellation.api import Api  # noqa: PLC0415 - only a command that runs needs these
        from constellation.bundle import download, reporting  # noqa: PLC0415
        from constellation.rest import ApiError  # noqa: PLC0415

        address = url or os.environ.get(connection.URL) or bundle.origin.get("url")
        found = connection.connect(
            os.environ,
            url=address,
            api_key=api_key,
            data_dir=data_dir,
            logins=lambda: logins.kept(os.environ, context.obj),
        )
        with Api(found.url, found.administrators_key(), transport=context.obj) as api:
            fetched = download.get(
                api,
                bundle,
                which.satellite_id,
                which.launch_id,
                trusted=key,
                seconds=float(wait),
                say=Output().note,
            )
            bundle.origin = {"url": found.url, "key": fetched.content.thumbprint}
            try:
                reporting.enrol(api, bundle, fetched.content)
            except ApiError as error:
                Output().note(f"the satellite will not report to its platform, which gives it no key: {error}")
        what = f"{fetched.files} files, {fetched.size} bytes" if fetched.changed else "nothing, it is up to date"
        _show(bundle, fetched.content, downloaded=what)


@app.command("configure")
def configure(
    context: typer.Context,
    assignments: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="What to set. KEY= takes a key out.")
    ] = None,
    folder: Dir = None,
) -> None:
    """Say where it is deployed, or show that."""
    with _said(), _opened(context, folder) as (bundle, _):
        import asyncio  # noqa: PLC0415 - see above

        from constellation.bundle import checks, configuration  # noqa: PLC0415

        now = bundle.configuration
        if assignments:
            changed = checks.absolute(configuration.changed(now, assignments))
            asyncio.run(checks.check(changed, since=now))
            bundle.configuration = now = changed
        rows = [{"key": one.key, "value": now.get(one.key), "means": one.means} for one in configuration.SETTINGS]
        Output().table({"KEY": "key", "VALUE": "value", "": "means"}, rows, none="")


@app.command("deploy")
def deploy(context: typer.Context, folder: Dir = None, key: TrustedKey = None) -> None:
    """Push the images to the registry, apply the satellite to the cluster, and wait until it is ready."""
    with _said(), _opened(context, folder) as (bundle, which):
        import asyncio  # noqa: PLC0415 - see above

        from constellation.bundle import configuration, deployment  # noqa: PLC0415

        stage = configuration.stage(bundle.configuration)
        found = bundle.verified(which.satellite_id, which.launch_id, trusted=key)
        bundle.data.mkdir(exist_ok=True, mode=0o711)
        done = asyncio.run(
            deployment.deploy(
                found, stage, report_token=bundle.report.get("key"), work=bundle.data, say=Output().note
            )
        )
        version = f"{found.index.satellite}, version {found.index.satellite_version}"
        Output().note(f"{version} is ready" if done.changed else f"{version} is ready; nothing had to be changed")
        for address in done.addresses:
            Output().text(address)


@app.command("run")
def run(
    context: typer.Context,
    folder: Dir = None,
    key: TrustedKey = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
) -> None:
    """Serve the satellite on this machine, with nothing but its bundle. Ctrl-C ends it."""
    import uvloop  # noqa: PLC0415 - only a command that runs needs these

    from constellation.bundle.folder import BundleFolder  # noqa: PLC0415
    from constellation.bundle.run import run as serve  # noqa: PLC0415
    from constellation.server import PortTaken, ServiceFailed  # noqa: PLC0415

    which: Named = context.meta[__name__]
    bundle = BundleFolder.of(which.satellite_id, which.launch_id, folder)
    with _said():
        serving = serve(
            bundle,
            which.satellite_id,
            which.launch_id,
            trusted=key,
            host=host,
            port=port,
            say=Output().note,
        )
        try:
            uvloop.run(serving)
        except (PortTaken, ServiceFailed) as error:
            raise Failed(str(error)) from error


@app.command("verify")
def verify(context: typer.Context, folder: Dir = None, key: TrustedKey = None) -> None:
    """See whether every byte of the bundle is as the platform signed it."""
    with _said(), _opened(context, folder) as (bundle, which):
        _show(bundle, bundle.verified(which.satellite_id, which.launch_id, trusted=key))


@app.command("show")
def show(context: typer.Context, folder: Dir = None) -> None:
    """Say what the bundle holds."""
    with _said(), _opened(context, folder) as (bundle, which):
        found = bundle.verified(which.satellite_id, which.launch_id)
        rows = [
            {"vanity": one.vanity_url, "algorithm": one.algorithm, "replicas": one.replicas}
            for one in found.plan().order.entries
        ]
        _show(bundle, found)
        Output().table({"VANITY URL": "vanity", "ALGORITHM": "algorithm", "REPLICAS": "replicas"}, rows, none="")


def _show(bundle: BundleFolder, found: Content, **more: str) -> None:
    index = found.index
    Output().document(
        {
            "bundle": str(bundle.path),
            "satellite": f"{index.satellite}, version {index.satellite_version}",
            "launch": index.launch,
            "digest": f"sha256:{found.sha256}",
            "signed with": found.thumbprint,
            **more,
        }
    )


@contextmanager
def _opened(
    context: typer.Context, folder: Path | None, *, make: bool = False
) -> Iterator[tuple[BundleFolder, Named]]:
    """The bundle's folder, for this command alone."""
    from constellation.bundle.folder import BundleFolder  # noqa: PLC0415 - see above

    which: Named = context.meta[__name__]
    bundle = BundleFolder.of(which.satellite_id, which.launch_id, folder)
    with bundle.locked(make=make):
        yield bundle, which


@contextmanager
def _said() -> Iterator[None]:
    """Ends the command with a sentence when something goes wrong."""
    from constellation.bundle.problems import BundleProblem  # noqa: PLC0415 - see above

    with explained():
        try:
            yield
        except BundleProblem as error:
            raise Failed(str(error)) from error


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
