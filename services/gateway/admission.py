"""Whether a call may be made: who calls, what, and with which options.

What was decided for a head is remembered for heads that say exactly the same, until an account, key or algorithm
changes. A decision for which somebody must be asked, as the catalog or the keys at hand do not have what is named, is
made off the way of other calls, and a miss is confirmed before it is an answer.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

from libs.common.contracts.identity import PrincipalKind
from libs.common.contracts.launches import VANITY
from libs.common.contracts.references import LATEST, LATEST_PRIVATE, InvalidReference, Reference, parse
from libs.common.contracts.runner import CALL_PATH, FLAG_RAW, FLAG_STDOUT, FLAG_TRACE, FLAGS
from libs.common.contracts.scopes import CALL
from libs.common.problems import Forbidden, Invalid, NotFound, Unauthenticated, Unavailable, UnsupportedMedia
from services.gateway import browsers
from services.gateway.applications import Application, Applications
from services.gateway.callers import Caller, Callers
from services.gateway.clock import Clock
from services.gateway.launched import Entry, Launches
from services.gateway.options import InvalidOption, Options, Output, media_type, parse_options
from services.gateway.table import Algorithm, Table, Target

PREFIX = b"/v1/algo/"
LAUNCHES = b"/launches/"
_UUID_LENGTH = 36
_MOST_VANITY = 100
"""Characters of what is told that it is not found. Vanity URLs have less."""
MAX_DEPTH = 10
ABSENT_SECONDS = 1.0
REMEMBERED = 8192
MOST_REMEMBERED = 4096
"""Bytes of one head that is remembered, of which an access token needs one or two thousand: clients may say the same
in ever longer ways."""
ADMIN_KEY = "an admin key calls no algorithms; use a standard key, or the option sudo=true"

Headers = Mapping[bytes, bytes]


class Admission:
    """What a call may do. Calls that say the same share it."""

    __slots__ = (
        "application",
        "caller",
        "expires",
        "head",
        "is_raw",
        "is_void",
        "reference",
        "target",
        "timeout",
    )

    def __init__(
        self,
        caller: Caller,
        reference: str,
        target: Target,
        options: Options,
        media: str,
        *,
        insider: bool,
        application: Application | None = None,
    ) -> None:
        self.caller = caller
        self.reference = reference
        self.target = target
        self.application = application
        """That answers for the target."""
        self.timeout = options.timeout
        self.is_void = options.output is Output.VOID
        self.is_raw = options.output is Output.RAW
        self.expires = caller.expires
        self.head = _request_head(options, media, insider=insider)
        """The beginning of the request to a replica."""

    def redirected(self, target: Target, application: Application) -> Admission:
        """The same for another target, now that the application has another current version."""
        other = copy.copy(self)
        other.target, other.application = target, application
        return other


class Draft:
    """A call on which it is not decided yet: what is known of it so far."""

    __slots__ = ("application", "caller", "headers", "insider", "is_raw", "reference", "target")

    def __init__(self, target: bytes, headers: Headers) -> None:
        self.target = target
        """The request target: path and query."""
        self.headers = headers
        self.caller: Caller | None = None
        self.reference: Reference | None = None
        self.insider = False
        self.application: Application | None = None
        """That has nothing which could answer but its default."""
        self.is_raw = False


class Missing(Exception):
    """The catalog at hand has no such algorithm or version for this caller."""


class Admissions:
    """Args:
    confirm: catches up with the catalog; False when that was not possible.
    launched_only: algorithms are not called by their own names here, only by those that launches give them.
    """

    def __init__(
        self,
        callers: Callers,
        table: Table,
        launches: Launches,
        applications: Applications,
        *,
        confirm: Callable[[], Awaitable[bool]],
        clock: Clock,
        launched_only: bool = False,
    ) -> None:
        self._callers = callers
        self._table = table
        self._launches = launches
        self._applications = applications
        self._confirm = confirm
        self._clock = clock
        self._launched_only = launched_only
        self._known: dict[tuple[bytes, bytes, bytes], Admission] = {}
        self._changes = -1
        self._absent: dict[tuple[Reference, bool], tuple[int, float]] = {}
        """References that were confirmed to be missing: in which state of the table, and until when."""

    def known(self, target: bytes, headers: Headers) -> Admission | None:
        """What was decided for the same head before, if that still holds."""
        changes = self._callers.changes + self._named
        if self._changes != changes:
            self._known.clear()
            self._changes = changes
        found = self._known.get((headers.get(b"authorization", b""), target, headers.get(b"content-type", b"")))
        if found is None or b"origin" in headers or b"content-encoding" in headers:
            return None
        if found.expires is not None and found.expires <= time.time():
            return None
        return found

    @property
    def _named(self) -> int:
        """Rises when something that can be called changes."""
        return self._table.changes + self._launches.changes + self._applications.changes

    def decide(self, draft: Draft) -> Admission | None:
        """Decide by what is at hand; None when somebody must be asked: see `find_out`. Raises Problem."""
        authorization = draft.headers.get(b"authorization")
        if not authorization:
            raise Unauthenticated("authorization required")
        draft.caller = self._callers.at_hand(authorization)
        if draft.caller is None:
            return None
        try:
            return self._admit(draft, draft.caller)
        except Missing:
            return None

    async def find_out(self, draft: Draft) -> Admission:
        """Decide, and ask whoever knows. Raises Problem."""
        if draft.caller is None:
            draft.caller = await self._callers.find(draft.headers[b"authorization"])
        caller = draft.caller
        try:
            return self._admit(draft, caller)
        except Missing:
            confirmed = await self._confirm()
        try:
            return self._admit(draft, caller)
        except Missing:
            reference = draft.reference
            assert reference is not None  # noqa: S101 - that is what is missing
            if not confirmed and not len(self._table):
                raise Unavailable("the platform is starting: no algorithms are known here yet") from None
            if len(self._absent) >= REMEMBERED:
                self._absent.clear()
            self._absent[reference, draft.insider] = (self._named, self._clock.now + ABSENT_SECONDS)
            raise self._not_found(reference, insider=draft.insider) from None

    def _admit(self, draft: Draft, caller: Caller) -> Admission:
        """Raises Missing when the algorithm is not found, Problem when the call is refused."""
        headers = draft.headers
        _check_caller(caller, headers)
        path, _, query = draft.target.partition(b"?")
        launch, text = _place(path)
        options = _options(query)
        sudo = options.sudo and caller.principal.is_admin
        application = self._applications.find(text) if not launch else None
        entry = self._launches.find(text, launch)
        draft.reference = reference = _reference(text, vanity=bool(application or entry or launch))
        if application is not None:
            target = self._applied(draft, caller, application, options.output, sudo=sudo)
        elif entry is not None:
            target = self._launched(draft, caller, entry, sudo=sudo)
        elif launch or self._launched_only:
            raise self._missing(draft, reference)
        else:
            target = self._find(draft, caller, reference, sudo=sudo)
        admission = Admission(
            caller,
            str(reference),
            target,
            options,
            _media_type(headers),
            insider=draft.insider,
            application=application,
        )
        key = (headers[b"authorization"], draft.target, headers.get(b"content-type", b""))
        if caller.claims is None and sum(map(len, key)) <= MOST_REMEMBERED:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = admission
        return admission

    def _find(self, draft: Draft, caller: Caller, reference: Reference, *, sudo: bool) -> Target:
        algorithm = self._table.find(reference)
        target = None
        if algorithm is not None:
            draft.insider = sudo or caller.principal.belongs_to(algorithm.owner)
            target = self._table.target(algorithm, reference.version, insider=draft.insider)
        if algorithm is None or target is None:
            raise self._missing(draft, reference)
        if not sudo:
            _check_key(caller, algorithm)
        return target

    def _launched(self, draft: Draft, caller: Caller, entry: Entry, *, sudo: bool) -> Target:
        target = self._launches.target(entry)
        if target is None:
            raise self._missing(draft, draft.reference)
        algorithm = target.algorithm
        draft.insider = sudo or caller.principal.belongs_to(algorithm.owner)
        if sudo:
            return target
        accepted = self._launches.accepts(entry, digest=self._callers.digest(caller), account=caller.name)
        if not accepted and not draft.insider:
            raise self._not_found(draft.reference, insider=False)
        _check_key(caller, algorithm)
        if not accepted:
            raise Forbidden(
                f"version {entry.launch.satellite_version} of this satellite was made before this key and does not "
                "accept it; make a version that does (POST /admin/v1/satellites/ID/versions), and deploy it"
            )
        return target

    def _applied(
        self, draft: Draft, caller: Caller, application: Application, output: Output, *, sudo: bool
    ) -> Target:
        """Who may call the algorithm of the current version may call the application."""
        if application.current is None:
            if not (sudo or caller.principal.permissions.allow_algo):
                raise Forbidden(ADMIN_KEY)
            if output is not Output.VOID:
                draft.application, draft.is_raw = application, output is Output.RAW
            raise Unavailable(f"no version is linked to the application '{application.name}' yet")
        target = self._applications.target(application.current)
        if target is None:
            raise self._missing(draft, draft.reference)
        algorithm = target.algorithm
        draft.insider = sudo or caller.principal.belongs_to(algorithm.owner)
        if not (draft.insider or algorithm.is_public):
            raise self._not_found(draft.reference, insider=False)
        if not sudo:
            _check_key(caller, algorithm)
        return target

    def _missing(self, draft: Draft, reference: Reference | None) -> Exception:
        """NotFound if it was confirmed a moment ago that there is none, else Missing."""
        assert reference is not None  # noqa: S101 - it was read before
        changes, until = self._absent.get((reference, draft.insider), (-1, 0.0))
        if changes == self._named and until > self._clock.now:
            return self._not_found(reference, insider=draft.insider)
        return Missing()

    def _not_found(self, reference: Reference | None, *, insider: bool) -> NotFound:
        assert reference is not None  # noqa: S101 - that is what is not found
        words = f"algorithm algo://{reference} not found"
        if self._launched_only:
            words += "; this satellite answers the vanity URLs of its own algorithms only"
        elif insider and reference.version in ("", LATEST):
            words += f": it has no public version; publish one, or call algo://{reference.algorithm}/{LATEST_PRIVATE}"
        return NotFound(words, code=1000)


def _check_caller(caller: Caller, headers: Headers) -> None:
    """Raises Forbidden when the credential allows no calls, or none from where this one comes from."""
    principal, claims = caller.principal, caller.claims
    if claims is not None:
        if not claims.may_chain:
            raise Forbidden("this algorithm may not call algorithms")
        if claims.depth >= MAX_DEPTH:
            raise Forbidden(f"algorithms call one another {MAX_DEPTH} deep here, which is the limit")
        return
    if principal.kind is not PrincipalKind.ACCOUNT:
        raise Forbidden("services and satellites do not call algorithms")
    if not (principal.permissions.allow_algo or principal.admin_key):
        raise Forbidden(
            f"this token may not call algorithms; it needs the scope {CALL}"
            if principal.scopes is not None
            else "this key may not call algorithms; use one that has 'allow_algo'"
        )
    if (origin := headers.get(b"origin")) is not None:
        browsers.check(principal.permissions, origin, headers.get(b"referer", b""))


def is_call(target: bytes) -> bool:
    """Is a request target of a call, when it is posted to?"""
    return target.startswith(PREFIX) or (
        target.startswith(LAUNCHES) and target[len(LAUNCHES) + _UUID_LENGTH :].startswith(PREFIX)
    )


def _check_key(caller: Caller, algorithm: Algorithm) -> None:
    """Raises Forbidden when the key does not let the caller call the algorithm."""
    if not caller.principal.permissions.allow_algo:
        raise Forbidden(ADMIN_KEY)
    if not caller.may_call(algorithm.owner, algorithm.name):
        raise Forbidden(f"this key may not call algo://{algorithm.owner}/{algorithm.name}")


def _place(path: bytes) -> tuple[str, str]:
    """The launch that a path names, empty for none, and what stands behind `/v1/algo/`."""
    launch = ""
    if path.startswith(LAUNCHES):
        end = len(LAUNCHES) + _UUID_LENGTH
        launch, path = path[len(LAUNCHES) : end].decode("latin-1").lower(), path[end:]
    text = unquote(path[len(PREFIX) :].decode("latin-1")).strip("/")
    return launch, text.removeprefix("algo:").lstrip("/")


def _reference(text: str, *, vanity: bool) -> Reference:
    """Raises Invalid.

    Args:
        vanity: it is a vanity URL, or cannot be anything else.
    """
    try:
        return parse(text)
    except InvalidReference as error:
        if VANITY.fullmatch(text) or (vanity and len(text) <= _MOST_VANITY):
            return Reference(text)
        raise Invalid(str(error), code=2015) from None


def _options(query: bytes) -> Options:
    try:
        return parse_options(query.decode("latin-1"))
    except InvalidOption as error:
        raise Invalid(str(error), code=2015) from None


def _media_type(headers: Headers) -> str:
    given = headers.get(b"content-type", b"").decode("latin-1")
    media = media_type(given)
    if media is None:
        named = f"'{given[:80]}'" if given else "missing"
        raise UnsupportedMedia(
            f"the Content-Type is {named}; send text/plain, application/json or application/octet-stream"
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMedia("send the input as it is, without a Content-Encoding")
    return media


def _request_head(options: Options, media: str, *, insider: bool) -> str:
    words = []
    if insider:
        words = [FLAG_STDOUT, FLAG_TRACE] if options.stdout else [FLAG_TRACE]
    if options.output is Output.RAW:
        words.append(FLAG_RAW)
    flags = f"{FLAGS}: {','.join(words)}\r\n" if words else ""
    return f"POST {CALL_PATH} HTTP/1.1\r\nhost: replica\r\ncontent-type: {media}\r\n{flags}"
