"""Where packages come from: the worker's settings, else uv's and pip's own configuration, as variables for uv.

uv does not read pip's configuration, so it is translated here: a machine on which pip finds its packages needs
no further setting. Credentials travel as environment variables, never on a command line.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from libs.common import logs
from services.worker.settings import WorkerSettings

log = logs.get(__name__)

_PIP_SECTIONS = ("global", "install")
_UV_PREFIXES = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_HTTP_TIMEOUT",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_OFFLINE",
    "UV_EXCLUDE_NEWER",
)
_NETWORK = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
)
_PLACES = ("UV_INDEX", "UV_DEFAULT", "UV_EXTRA", "UV_FIND", "SSL_", "REQUESTS_CA", "NODE_EXTRA")
"""Beginnings of the names of variables that hold paths or URLs."""
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+(?=@)")
HIDDEN = "[hidden]"


@dataclass(frozen=True)
class Indexes:
    """How confined package programs reach their packages."""

    variables: Mapping[str, str]
    readable: Sequence[Path]
    """Local folders and files that the variables name."""

    def redact(self, text: str) -> str:
        """The text without credentials of any URL."""
        return _USER_INFO.sub(HIDDEN, text)


def configured(
    settings: WorkerSettings, environ: Mapping[str, str], pip_files: Sequence[Path] | None = None
) -> Indexes:
    """What holds on this machine. The worker's settings come first, then uv's variables, then pip's variables
    and files.

    Args:
        pip_files: pip's configuration files, weakest first; None takes those that pip would read.
    """
    variables = {name: environ[name] for name in _NETWORK if environ.get(name)}
    uv = {name: value for name, value in environ.items() if name.startswith(_UV_PREFIXES) and value}
    variables |= uv
    pip = _pip_options(environ, _pip_files(environ) if pip_files is None else pip_files)
    _translate(variables, pip, taken=uv)
    if settings.index_url:
        variables["UV_DEFAULT_INDEX"] = settings.index_url
        variables.pop("UV_INDEX_URL", None)
    if settings.extra_index_url:
        variables["UV_INDEX"] = " ".join(settings.extra_index_url.split())
        variables.pop("UV_EXTRA_INDEX_URL", None)
    if settings.find_links:
        variables["UV_FIND_LINKS"] = ",".join(settings.find_links.split())
    return Indexes(variables, _local(variables))


def _translate(variables: dict[str, str], pip: Mapping[str, str], taken: Mapping[str, str]) -> None:
    if "index-url" in pip and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & taken.keys():
        variables["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "extra-index-url" in pip and not {"UV_INDEX", "UV_EXTRA_INDEX_URL"} & taken.keys():
        variables["UV_INDEX"] = " ".join(pip["extra-index-url"].split())
        # pip takes the best version of all its indexes; without this uv would stop at the first that has any.
        variables.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if "find-links" in pip and "UV_FIND_LINKS" not in taken:
        variables["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        variables.setdefault("UV_NO_INDEX", "1")
    if "trusted-host" in pip:
        variables.setdefault("UV_INSECURE_HOST", " ".join(pip["trusted-host"].split()))
    if "cert" in pip:
        variables.setdefault("SSL_CERT_FILE", pip["cert"])
    if "proxy" in pip:
        variables.setdefault("ALL_PROXY", pip["proxy"])
    if "timeout" in pip or "default-timeout" in pip:
        variables.setdefault("UV_HTTP_TIMEOUT", pip.get("timeout", pip.get("default-timeout", "")))


def _pip_options(environ: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """pip's options by their long names. Its variables win over its files."""
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeError) as error:
            log.warning("pip_configuration_ignored", file=str(file), reason=type(error).__name__)
            continue
        for section in _PIP_SECTIONS:
            if parser.has_section(section):
                found |= {name.replace("_", "-"): value for name, value in parser.items(section) if value}
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Those that pip reads on Linux, in its order (https://pip.pypa.io/en/stable/topics/configuration/)."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(environ.get("HOME", "/nonexistent"))
    shared = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path(folder, "pip", "pip.conf") for folder in reversed(shared.split(os.pathsep))]
    files += [
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        own / "pip" / "pip.conf",
        Path(sys.prefix, "pip.conf"),
    ]
    return [*files, Path(chosen)] if chosen else files


def _local(variables: Mapping[str, str]) -> list[Path]:
    """Existing folders and files that are named as paths or `file:` URLs."""
    found = set()
    for value in (value for name, value in variables.items() if name.startswith(_PLACES)):
        for word in re.split(r"[\s,]+", value):
            place = word.partition("=")[2] if re.match(r"[\w.-]+=\w+:", word) else word
            path = Path(unquote(urlsplit(place).path)) if place.startswith("file:") else Path(place)
            if path.is_absolute() and path.exists():
                found.add(path)
    return sorted(found)
