"""The bundled algorithms as modules, each imported as a worker would: by its file, with the packages it asks for."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from constellation.examples import FOLDER


class Adk:
    """Stands in for the published ADK: notes what a module serves, and serves nothing."""

    def __init__(self, apply: Any, load: Any = None) -> None:
        self.apply = apply
        self.load = load
        self.sample: Any = None

    def init(self, sample: Any = None) -> None:
        self.sample = sample


def load_example(name: str, monkeypatch: pytest.MonkeyPatch, **packages: ModuleType) -> Any:
    """The module `src/NAME.py` of an example, with these packages in the place of installed ones."""
    for package, module in packages.items():
        monkeypatch.setitem(sys.modules, package, module)
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / name / "src" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def algorithmia(**members: Any) -> ModuleType:
    """A module `Algorithmia` with the ADK and whatever else is given."""
    module = ModuleType("Algorithmia")
    vars(module).update({"ADK": Adk, **members})
    return module
