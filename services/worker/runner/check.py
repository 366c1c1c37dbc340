"""Load an algorithm once, as a replica would, to learn whether it can be served. For builds."""

from __future__ import annotations

import os
import sys
import tempfile

from . import answers
from .answers import LOADING_ERROR, Failure
from .output import open_output, read_range, size_of
from .spec import PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Spec

NO_DOOR = "http://127.0.0.1:9"
"""Where the clients of an algorithm look during a check: nothing is there, and no other platform either."""


def check(spec: Spec) -> int:
    """End the process with 0 if the algorithm loads; else with 1, the reason and stack trace on standard
    error. Threads that the algorithm started are not waited for."""
    code = _try(spec)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _try(spec: Spec) -> int:
    os.environ.setdefault("ALGORITHMIA_API", NO_DOOR)
    os.chdir(spec.root)
    try:
        if spec.kind == PYTHON:
            _check_python(spec)
        else:
            _check_pipe(spec)
    except BaseException as error:
        failure = answers.describe_exception(error, LOADING_ERROR)
        print(failure.trace or f"{failure.error_type}: {failure.message}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _check_python(spec: Spec) -> None:
    from .algorithm import load_python  # noqa: PLC0415 - pipe algorithms need none of it

    try:
        load_python(spec)
    except SystemExit as error:
        raise Failure(f"the algorithm ended its process while it was loaded: exit({error.code!r})") from error


def _check_pipe(spec: Spec) -> None:
    from .pipes import PipeAlgorithm  # noqa: PLC0415 - Python algorithms need none of it

    output = open_output()
    with tempfile.TemporaryDirectory() as folder:
        spec.state = os.path.join(folder, "state")  # the pipe goes beside it
        algorithm = PipeAlgorithm(spec, output)
        try:
            algorithm.wait_ready()
        finally:
            code = algorithm.close()
            sys.stderr.buffer.write(read_range(output, 0, size_of(output)))
            sys.stderr.flush()
    if code != 0:
        raise Failure(f"{spec.command[0]} ended with code {code} when its input ended")
