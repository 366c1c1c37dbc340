"""How the runner is started for an algorithm: with which interpreter, as which kind, with which command."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.common.contracts.catalog import Language
from services.worker.environments import LanguageMissing, Prepared
from services.worker.repository import PIPE
from services.worker.toolchain import Toolchain

_MAIN = "main.py"
_NODE_PIPE = "pipe_node.js"


@dataclass(frozen=True)
class Program:
    """One algorithm, ready for the runner."""

    interpreter: Path
    """Runs the runner; for Python the algorithm as well."""
    runner: Path
    members: Mapping[str, Any]
    """Of the runner's specification: what the algorithm is."""
    environment: Mapping[str, str]
    readable: Sequence[Path]

    def command(self, *arguments: str) -> list[str]:
        return [str(self.interpreter), "-I", str(self.runner / _MAIN), *arguments]


class Programs:
    """Knows the runner and the interpreters of this worker."""

    def __init__(self, runner: Path, toolchain: Toolchain, passed: Mapping[str, str]) -> None:
        """
        Args:
            passed: variables of the worker that algorithms get.
        """
        self._runner = runner
        self._toolchain = toolchain
        self._passed = passed

    def of(self, language: Language, name: str, prepared: Prepared) -> Program:
        """Raises LanguageMissing."""
        interpreter = self._toolchain.python.path
        members: dict[str, Any] = {"name": name, "root": str(prepared.tree), "kind": "pipe"}
        path = ["/usr/local/bin", "/usr/bin", "/bin"]
        if language is Language.PYTHON:
            if prepared.environment is None:
                raise LanguageMissing("a Python algorithm has no environment")
            interpreter = prepared.environment / "bin" / "python"
            members["kind"] = "python"
            path.insert(0, str(interpreter.parent))
        elif language is Language.JAVASCRIPT:
            if self._toolchain.node is None:
                raise LanguageMissing("this worker has no Node.js; install it and npm, or set CONSTELLATION_NODE")
            node = self._toolchain.node.path
            members["command"] = [str(node), str(self._runner / _NODE_PIPE), name]
            path.insert(0, str(node.parent))
        else:
            members["command"] = [str(prepared.tree / PIPE)]
        return Program(
            interpreter=interpreter,
            runner=self._runner,
            members=members,
            environment={**self._passed, "PATH": os.pathsep.join(dict.fromkeys(path))},
            readable=[*prepared.paths, self._runner],
        )
