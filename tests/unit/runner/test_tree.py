"""The runner's files themselves: they are copied to where nothing else of the project is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from services.worker import runner

FOLDER = Path(runner.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_python_3_8_and_imports_the_standard_library_alone(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    assert imported(tree) <= sys.stdlib_module_names


def test_starting_imports_no_typing_and_nothing_heavy() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import main; main.adopt_folder(); "
        "before = set(sys.modules); import constellation_runner.guardian; "
        "heavy = {'typing', 'pathlib', 'asyncio', 'logging', 'hashlib', 'threading'}; "
        "print(*sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
