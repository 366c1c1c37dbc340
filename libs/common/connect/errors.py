"""What can keep an app from what it wants. `str()` of each says what is wrong and what to do, and holds no secret."""

from __future__ import annotations


class ConnectFailed(Exception):
    """Everything that `connect` and what it yields raise is one of these."""


class Unreachable(ConnectFailed):
    """The platform does not answer, or not as a platform does. Trying again later may help."""


class NeedsLogin(ConnectFailed):
    """There is no login that is good: never was, revoked, or over. Connect again where somebody can approve it."""


class Denied(ConnectFailed):
    """Somebody, or a rule, decided against the app. The message is theirs."""


class Expired(ConnectFailed):
    """Nobody decided in time."""


class Refused(ConnectFailed):
    """The platform takes the request for wrong (RFC 6749, section 5.2).

    Args:
        error: OAuth's word for it, such as `invalid_scope`.
    """

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(description or f"the platform refused ({error})")
        self.error = error
        self.description = description


class Unavailable(ConnectFailed):
    """A requirement of the manifest was not granted, or no address of it answers.

    Args:
        requirement: its key.
    """

    def __init__(self, requirement: str, why: str) -> None:
        super().__init__(why)
        self.requirement = requirement


class CallFailed(ConnectFailed):
    """An algorithm, or the platform for it, answered with an error.

    Args:
        kind: such as `InputError`, `AlgorithmError`, `TimeoutError`, `EntityNotFoundError`.
        status: of HTTP. 200 for what happened inside an algorithm.
        stack: of the algorithm, for its owner.
    """

    def __init__(
        self, message: str, *, kind: str, status: int, stack: str | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.status = status
        self.stack = stack
        self.request_id = request_id
