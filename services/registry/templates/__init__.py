"""The repository that a new algorithm starts with, by language; and the same as an archive to download.

The folders beside this file hold the templates. Each file's name ends in `.tmpl`; `{OWNER}` and `{NAME}` stand for
the algorithm's, in names and contents.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from libs.common.contracts.catalog import Language

_SUFFIX = ".tmpl"


@dataclass(frozen=True)
class TemplateFile:
    path: str
    content: bytes

    @property
    def executable(self) -> bool:
        return self.path.startswith("bin/")


def render(language: Language, owner: str, name: str) -> list[TemplateFile]:
    """The files of a new algorithm. Its apply answers `hello ` and the input."""
    return [
        TemplateFile(_fill(path, owner, name), _fill(text, owner, name).encode()) for path, text in _read(language)
    ]


def archive(language: Language) -> bytes:
    """The template as a gzipped tar archive, the same bytes each time."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in render(language, "your_account", "your_algorithm"):
            entry = tarfile.TarInfo(file.path)
            entry.size = len(file.content)
            entry.mode = 0o755 if file.executable else 0o644
            tar.addfile(entry, io.BytesIO(file.content))
    return gzip.compress(raw.getvalue(), mtime=0)


@cache
def _read(language: Language) -> list[tuple[str, str]]:
    return sorted(_walk(files(__name__) / language.value, ""))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    found = []
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _walk(entry, f"{path}/")
        elif path.endswith(_SUFFIX):
            found.append((path.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")))
    return found


def _fill(text: str, owner: str, name: str) -> str:
    return text.replace("{OWNER}", owner).replace("{NAME}", name).replace("{name}", name.lower())
