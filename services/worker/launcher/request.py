"""What the launcher is asked for: a dictionary, since a class would cost each sandbox the import of what makes it."""

from __future__ import annotations

SETUP_FAILED = 120
PREFIX = "constellation: "
"""Begins every line that the launcher itself writes to standard error."""
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - the program's own
"""Where a program with namespaces finds `scratch`."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypedDict

    Mode = Literal["namespaces", "uid", "none"]

    class LimitValues(TypedDict):
        """Resource limits of the program and of each of its descendants (getrlimit(2)); None leaves one as it is."""

        data_mib: int | None
        """Memory that one process may allocate, in MiB."""
        processes: int | None
        open_files: int | None
        file_mib: int | None
        """Largest file that may be written, in MiB."""

    class Request(TypedDict):
        """What to start, and in which confinement. All paths are absolute and without symbolic links."""

        command: list[str]
        cwd: str
        environment: dict[str, str]
        mode: Mode
        new_users: bool
        """Get the namespaces through a user namespace, as a user without privileges must."""
        uid: int | None
        """User and group to become; None stays."""
        root: str
        """Namespaces: an empty folder where the program's root is put together."""
        scratch: str
        """Namespaces: the folder that the program sees as `/tmp`."""
        system: list[str]
        """Parts of the machine that the program sees, unchangeable. What does not exist is skipped."""
        hidden: list[str]
        """Shown empty, except for what the other lists name below them."""
        readable: list[str]
        writable: list[str]
        devices: dict[str, str]
        """Device nodes besides the harmless ones, by the name in /dev."""
        shm_mib: int
        """Size of /dev/shm."""
        tied_to: int | None
        """End with the process that asked, which has this number, however it ends."""
        isolated: bool
        """No network but the program's own loopback."""
        entrance: tuple[str, int] | None
        """Isolated programs: host and port outside whose connections reach that port of the program's loopback."""
        limits: LimitValues
