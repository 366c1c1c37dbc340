"""What a process that serves sets up for itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from constellation.server import raise_file_limit
hard = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
raise_file_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize("hard", [128, 512])
def test_it_may_open_as_many_files_as_the_machine_allows(hard: int) -> None:
    said = subprocess.run([sys.executable, "-c", CODE, str(hard)], capture_output=True, check=True, timeout=60)
    assert said.stdout.split() == [str(hard).encode()] * 2
