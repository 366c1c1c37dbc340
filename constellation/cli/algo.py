"""`constellation algo`: from a folder of files to something that can be called."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from constellation.cli.command import Session, command
from constellation.cli.connection import Failed

if TYPE_CHECKING:
    from constellation.api import Api

app = typer.Typer(help="Create, push, publish and call algorithms.", no_args_is_help=True)

Language = Literal["python3", "javascript", "pipe"]
License = Literal["apl", "apache2", "gpl3", "mit"]
VersionType = Literal["major", "minor", "revision"]
Reference = Annotated[str, typer.Argument(metavar="[OWNER/]NAME", help="The algorithm.")]
Limit = Annotated[int, typer.Option(min=1, help="Most entries to show.")]
_SHOWN = 10


@command(app, "create")
def create(
    session: Session,
    algorithm: Reference,
    language: Annotated[Language, typer.Option(help="`pipe` is any language.")] = "python3",
    label: Annotated[str | None, typer.Option(help="What people read. Default: the name.")] = None,
    tagline: Annotated[str | None, typer.Option(help="What it does, in one line.")] = None,
    licence: Annotated[License, typer.Option("--license", help="Of the source.")] = "apl",
    isolated: Annotated[bool, typer.Option("--isolated", help="It gets no network.")] = False,
    chaining: Annotated[bool, typer.Option("--chaining/--no-chaining", help="It may call other algorithms.")] = True,
) -> None:
    """Make an algorithm and its git repository, which holds a template to start from."""
    owner, name = session.connection.algorithm(algorithm)
    details = {"label": label or name} | ({} if tagline is None else {"tagline": tagline})
    settings = {
        "language": language,
        "source_visibility": "closed" if licence == "apl" else "open",
        "license": licence,
        "network_access": "isolated" if isolated else "full",
        "pipeline_enabled": chaining,
    }
    made = session.author.create_algorithm(owner, name, details=details, settings=settings)
    repository = made["source"]["repository_https_url"]
    session.output.document({"algorithm": f"{owner}/{name}", "repository": repository}, made)


@command(app, "push")
def push(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="The algorithm's files.")] = Path(),
    algorithm: Annotated[
        str | None, typer.Option("--algorithm", "-a", help="OWNER/NAME. Default: what algorithmia.conf says.")
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Of the commit.")] = "Push of a folder",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show the build, and wait for its end.")] = True,
) -> None:
    """Push a folder, or the HEAD of a git checkout, to `master`, which builds it."""
    owner, name = session.connection.algorithm(algorithm or _configured(folder))
    api, output = session.author, session.output
    api.algorithm(owner, name)
    pushed = api.push(folder, owner, name, message=message)
    if pushed.uncommitted:
        output.note(f"{folder} has changes that are not committed; they were not pushed")
    output.note(f"{owner}/{name} {'is at' if pushed.changed else 'was at'} {pushed.commit}")
    build = api.build_of(owner, name, pushed)
    if wait:
        _follow(session, api, build["build_id"])
        build["status"] = "succeeded"
    fields = {"algorithm": f"{owner}/{name}", "commit": pushed.commit, "build": build["build_id"]}
    output.document(fields | {"status": build["status"]})


@command(app, "publish")
def publish(
    session: Session,
    algorithm: Reference,
    kind: Annotated[VersionType, typer.Option("--type", help="Which number rises.")] = "minor",
    public: Annotated[
        bool | None, typer.Option("--public/--private", help="Who may call it. Default: as before, else private.")
    ] = None,
    notes: Annotated[str | None, typer.Option(help="Release notes.")] = None,
    sample: Annotated[str | None, typer.Option("--sample-input", help="An input that people can try.")] = None,
) -> None:
    """Publish the newest successful build under a version number. Waits for one that is under way."""
    owner, name = session.connection.algorithm(algorithm)
    session.author.await_newest_build(owner, name)
    described = {"release_notes": notes, "sample_input": sample}
    made = session.author.publish(
        owner,
        name,
        version_type=kind,
        callability=None if public is None else "public" if public else "private",
        info={member: value for member, value in described.items() if value is not None},
    )
    number = made["version_info"]["semantic_version"]
    callability = made["settings"]["algorithm_callability"]
    session.output.document({"version": f"{owner}/{name}/{number}", "callable": callability}, made)


@command(app, "ls")
def ls(
    session: Session,
    owner: Annotated[str | None, typer.Option(help="Only this account's.")] = None,
    limit: Limit = 100,
) -> None:
    """List algorithms."""
    columns = {
        "OWNER": "owner",
        "NAME": "name",
        "LANGUAGE": "settings.language",
        "LABEL": "details.label",
    }
    found = islice(session.author.algorithms(owner), limit)
    session.output.table(columns, found, none="There are no algorithms yet.")


@command(app, "show")
def show(session: Session, algorithm: Reference) -> None:
    """Show an algorithm with its newest versions."""
    owner, name = session.connection.algorithm(algorithm)
    api, output = session.author, session.output
    found = api.algorithm(owner, name)
    versions = list(islice(api.versions(owner, name), _SHOWN))
    if output.as_json:
        output.document({**found, "versions": versions})
        return
    settings = found["settings"]
    fields = {
        "algorithm": f"{owner}/{name}",
        "label": found["details"].get("label"),
        "tagline": found["details"].get("tagline"),
        "language": settings["language"],
        "network": settings["network_access"],
        "scaling": settings.get("scaling"),
        "repository": found["source"]["repository_https_url"],
    }
    output.document(fields)
    columns = {
        "VERSION": "version_info.semantic_version",
        "CALLABLE": "settings.algorithm_callability",
        "COMMIT": "version_info.git_hash",
        "BUILT": "build.finished_at",
    }
    output.table(columns, versions, none="No build has succeeded yet.")


@command(app, "call", json=False)
def call(
    session: Session,
    algorithm: Annotated[str, typer.Argument(metavar="[OWNER/]NAME[/VERSION]", help="What to call.")],
    text: Annotated[str | None, typer.Option("--text", help="A text as input.")] = None,
    json_text: Annotated[str | None, typer.Option("--json", metavar="JSON", help="JSON as input.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A file as input: .json as JSON, .txt as text, others as bytes.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result there.")] = None,
    timeout: Annotated[float, typer.Option(min=0.001, max=3000, help="Seconds.")] = 300,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Show what the algorithm printed, if it is yours.")
    ] = False,
) -> None:
    """Call an algorithm and print its result."""
    content, media_type = _input(text, json_text, file)
    reference = algorithm if "/" in algorithm else "/".join(session.connection.algorithm(algorithm))
    answer = session.author.call(reference, content, media_type, seconds=timeout, stdout=stdout)
    if answer.stdout:
        session.output.note(answer.stdout.rstrip("\n"))
    if save is not None:
        save.write_bytes(_bytes(answer.result))
    elif isinstance(answer.result, str):
        session.output.text(answer.result)
    elif not isinstance(answer.result, bytes):
        session.output.value(answer.result)
    elif sys.stdout.isatty():
        raise Failed(f"the result is {len(answer.result)} bytes and no text; save it with --output FILE")
    else:
        sys.stdout.buffer.write(answer.result)
        sys.stdout.buffer.flush()


@command(app, "logs")
def logs(
    session: Session,
    algorithm: Reference,
    build: Annotated[str | None, typer.Option(help="Id of a build. Default: the newest.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Show calls that failed instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most calls to show.")] = 20,
) -> None:
    """Show the log of a build until it is finished, or calls that failed."""
    owner, name = session.connection.algorithm(algorithm)
    api = session.author
    if errors:
        found = api.failed_calls(owner, name)[:limit]
        columns = {"REQUEST": "request_id", "CALLER": "billable_to", "TYPE": "error_type", "ERROR": "error"}
        session.output.table(columns, found, none="No call failed lately.")
        return
    if build is None:
        newest = next(api.builds(owner, name), None)
        if newest is None:
            raise Failed(f"{owner}/{name} was not built yet; push it")
        build = newest["build_id"]
    _follow(session, api, build, to_stdout=True)


def _follow(session: Session, api: Api, build_id: str, *, to_stdout: bool = False) -> None:
    """Show a build's log until it is finished. Raises Failed when the build did."""
    output, pieces = session.output, list[str]()
    if output.as_json and to_stdout:
        last = api.follow_build(build_id, pieces.append)
        output.document({**last, "text": "".join(pieces), "offset": 0})
    else:
        show = output.text if to_stdout else output.note
        last = api.follow_build(build_id, lambda text: show(text, end=""))
    if last["status"] == "failed":
        raise Failed(f"build {build_id} failed: {last['reason']}")


def _configured(folder: Path) -> str:
    """The algorithm that a folder says it is."""
    file = folder / "algorithmia.conf"
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
        return f"{document['username']}/{document['algoname']}"
    except FileNotFoundError:
        raise Failed(f"which algorithm? {file} is not there; give --algorithm OWNER/NAME") from None
    except (ValueError, KeyError, TypeError):
        raise Failed(f"{file} does not say 'username' and 'algoname' in JSON; give --algorithm OWNER/NAME") from None


def _input(text: str | None, json_text: str | None, file: Path | None) -> tuple[bytes, str]:
    """The body of a call and its media type."""
    from libs.common.connect import calls  # noqa: PLC0415 - only a command that runs needs it

    if sum(given is not None for given in (text, json_text, file)) != 1:
        raise Failed("give one input: --text, --json or --file")
    if text is not None:
        return text.encode(), calls.TEXT
    if json_text is not None:
        try:
            return calls.json_content(json.loads(json_text)), calls.JSON
        except ValueError as error:
            raise Failed(f"--json is not JSON: {error}") from None
    assert file is not None  # noqa: S101 - one of the three is given
    return file.read_bytes(), {".json": calls.JSON, ".txt": calls.TEXT}.get(file.suffix.lower(), calls.BINARY)


def _bytes(result: Any) -> bytes:
    from libs.common.connect import calls  # noqa: PLC0415 - only a command that runs needs it

    if isinstance(result, bytes):
        return result
    return result.encode() if isinstance(result, str) else calls.json_content(result)
