"""Load an algorithm once, as a replica would, to learn whether it can be served. For builds."""

from __future__ import annotations

import os
import sys
import tempfile

from . import answers
from .answers import LOADING_ERROR, Failure
from .output import open_output, read_range, size_of
from .spec import PIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Spec

LOAD_RAISED = 3
NO_DOOR = "http://127.0.0.1:9"
"""Where the clients of an algorithm look during a check: nothing is there, and no other platform either."""


def check(spec: Spec) -> int:
    """End the process with 0 if the algorithm loads. With LOAD_RAISED if it can be called but its load()
    raises, as it may where it lacks what only a replica has; with 1 if it cannot be called at all. Both
    after the stack trace on standard error. Threads that the algorithm started are not waited for."""
    code = _try(spec)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _try(spec: Spec) -> int:
    os.environ.setdefault("ALGORITHMIA_API", NO_DOOR)
    os.chdir(spec.root)
    try:
        if spec.kind == PIPE:
            _check_pipe(spec)
            return 0
        from .algorithm import import_python  # noqa: PLC0415 - pipe algorithms need none of it

        load = import_python(spec)
    except BaseException as error:
        return _tell(error, 1)
    try:
        load()
    except Exception as error:
        return _tell(error, LOAD_RAISED)
    except BaseException as error:
        return _tell(error, 1)
    return 0


def _tell(error: BaseException, code: int) -> int:
    if isinstance(error, SystemExit):  # a replica would end before it has begun
        error = Failure(f"the algorithm ended its process while it was loading: exit({error.code!r})", LOADING_ERROR)
    failure = answers.describe_exception(error, LOADING_ERROR)
    print(failure.trace.rstrip() or f"{failure.error_type}: {failure.message}", file=sys.stderr)  # noqa: T201
    return code


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
