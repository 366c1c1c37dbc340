"""`get`: the bundle comes from the platform, only what is new of it, and takes its place once it was found whole.

What arrived stays when the connection breaks or the command is ended, and the next `get` goes on where that was.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from constellation.bundle import content, signature
from constellation.bundle.content import INDEX, SIGNATURE, Content
from constellation.bundle.folder import BundleFolder
from constellation.bundle.problems import BundleProblem, Damaged, Untrusted
from constellation.bundles import BundlesApi
from constellation.rest import ApiError
from libs.common.contracts.bundles import BLOBS_FOLDER, Bundle, BundleAwaited, BundleFile
from libs.common.oci.layout import link_or_copy

Say = Callable[[str], None]

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to go on with a file, as long as nothing comes in between."""
LOOK_SECONDS = 2.0
_PART = ".part"


@dataclass(frozen=True)
class Fetched:
    """What a `get` did."""

    content: Content
    changed: bool
    files: int
    size: int
    """Files and bytes that were downloaded. What the folder had already was not."""


def get(
    api: BundlesApi,
    folder: BundleFolder,
    satellite_id: str,
    launch_id: str,
    *,
    trusted: str | None,
    seconds: float,
    say: Say,
) -> Fetched:
    """Bring the folder, which is locked, up to date with the platform.

    Args:
        trusted: thumbprint of the only key that is good.
        seconds: to wait at most until the platform has made what the bundle holds.

    Raises:
        ApiError: the platform refuses, cannot be reached, or breaks off too often.
        BundleProblem: what came is not what the platform signed, or of another satellite.
    """
    bundle = _awaited(api, launch_id, seconds, say)
    signed = signature.read(bundle.signature.encode(), "the platform's signature")
    offered = content.read(folder.incoming, bundle.index.encode(), signed)
    _check(api, offered, satellite_id, trusted)
    if (current := _current(folder)) is not None and _same(folder, bundle):
        return Fetched(current, changed=False, files=0, size=0)
    _prepare(folder.incoming, bundle, offered)
    came = _complete(api, folder, offered, say)
    try:
        fresh = content.verified(folder.incoming)
    except Damaged:  # and so is the bundle that it was taken from
        _drop_damaged(folder.incoming, offered)
        came += _complete(api, folder, offered, say, reuse=False)
        fresh = content.verified(folder.incoming)
    return Fetched(folder.take(fresh), changed=True, files=len(came), size=sum(file.size for file in came))


def _awaited(api: BundlesApi, launch_id: str, seconds: float, say: Say) -> Bundle:
    """The bundle, once the platform has made all of it. Raises BundleProblem when that takes too long."""
    end, told = time.monotonic() + seconds, None
    while True:
        found = api.bundle(launch_id)
        if isinstance(found, Bundle):
            return found
        if found != told:
            _tell(found, say)
            told = found
        if time.monotonic() >= end:
            raise BundleProblem(f"the platform still makes what the bundle holds: {'; '.join(found.waiting)}")
        time.sleep(LOOK_SECONDS)


def _tell(found: BundleAwaited, say: Say) -> None:
    say(f"the platform makes what is missing: {'; '.join(found.waiting)}")


def _check(api: BundlesApi, offered: Content, satellite_id: str, trusted: str | None) -> None:
    if str(offered.index.satellite_id) != satellite_id.lower():
        raise BundleProblem(
            f"launch {offered.index.launch_id} is of satellite {offered.index.satellite_id}, not of {satellite_id}"
        )
    if trusted is not None and offered.thumbprint != trusted:
        raise Untrusted(f"the platform signs with the key {offered.thumbprint}, not with {trusted}")
    if not signature.is_among(offered.thumbprint, api.signing_keys()):
        raise Untrusted(
            f"the bundle is signed with the key {offered.thumbprint}, which the platform does not publish"
        )


def _current(folder: BundleFolder) -> Content | None:
    """The bundle that is there, if it is whole."""
    try:
        return content.verified(folder.content)
    except BundleProblem:
        return None


def _same(folder: BundleFolder, bundle: Bundle) -> bool:
    found = ((folder.content / name).read_bytes().decode() for name in (INDEX, SIGNATURE))
    return tuple(found) == (bundle.index, bundle.signature)


def _prepare(incoming: Path, bundle: Bundle, offered: Content) -> None:
    """The folder with all small files, and nothing of another version."""
    incoming.mkdir(exist_ok=True, mode=0o700)
    for name in content.strangers(incoming, offered.index):
        path = incoming / name
        if path.name.removesuffix(_PART) in {file.sha256 for file in offered.index.files}:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    small = {file.path for file in offered.index.files if not file.is_blob}
    if small != bundle.files.keys():
        raise Damaged(f"the platform sent other files than the bundle's index names: {', '.join(bundle.files)}")
    for place, text in {INDEX: bundle.index, SIGNATURE: bundle.signature, **bundle.files}.items():
        _write(incoming / place, text.encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _complete(
    api: BundlesApi, folder: BundleFolder, offered: Content, say: Say, *, reuse: bool = True
) -> list[BundleFile]:
    """Have every blob: from the last bundle, or from the platform. Gives those that came."""
    (folder.incoming / BLOBS_FOLDER).mkdir(parents=True, exist_ok=True)
    missing = [file for file in offered.index.files if file.is_blob and not _have(folder, file, reuse=reuse)]
    for number, file in enumerate(missing, start=1):
        say(f"{number} of {len(missing)}: {file.sha256[:12]}, {_words(file.size)}")
        _download(api, folder.incoming / file.path, file)
    return missing


def _have(folder: BundleFolder, file: BundleFile, *, reuse: bool) -> bool:
    """Is it there, as far as its length says? What is there is read once, when all is."""
    target, known = folder.incoming / file.path, folder.content / file.path
    if target.is_file() and target.stat().st_size == file.size:
        return True
    target.unlink(missing_ok=True)
    if not (reuse and known.is_file() and known.stat().st_size == file.size):
        return False
    link_or_copy(known, target)
    return True


def _download(api: BundlesApi, target: Path, file: BundleFile) -> None:
    """A blob, from where an earlier attempt ended. Raises ApiError."""
    part = target.with_name(target.name + _PART)
    pauses = iter(PAUSES)
    while True:
        before = part.stat().st_size if part.exists() else 0
        if before > file.size:
            part.unlink()
            before = 0
        try:
            if before < file.size or file.size == 0:
                api.read_blob(file.sha256, part)
            break
        except ApiError as error:
            if error.status is not None and error.status < 500:
                raise
            if part.exists() and part.stat().st_size > before:
                pauses = iter(PAUSES)
            pause = next(pauses, None)
            if pause is None:
                raise
            time.sleep(pause)
    if (found := content.fault(part, file)) is not None:
        part.unlink()
        raise Damaged(f"{found}, as it came from the platform; try again")
    part.rename(target)


def _drop_damaged(incoming: Path, offered: Content) -> None:
    """What the last bundle had damaged comes from the platform."""
    for file in offered.index.files:
        if file.is_blob and content.fault(incoming / file.path, file) is not None:
            (incoming / file.path).unlink(missing_ok=True)


def _words(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / (1 << 10):.1f} KiB"
