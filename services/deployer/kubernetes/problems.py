"""What may become of a question to a cluster, in words that an operator can act on."""

from __future__ import annotations


class ClusterError(Exception):
    """Something that was asked of a cluster did not happen. The text says what, why, and what may help."""


class Unreachable(ClusterError):
    """The cluster does not answer, or not now. The same may succeed later."""


class Refused(ClusterError):
    """The cluster, or its kubeconfig, does not allow it, or it is not what the cluster takes."""


class NoNamespace(Refused):
    """The namespace is not there."""


class Conflicting(ClusterError):
    """Others have set fields to other values; the text names them and the fields."""


class Expired(ClusterError):
    """What was to be followed is too long ago: list anew."""
