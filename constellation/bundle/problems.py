"""What can go wrong with a bundle, in words that say what to do."""

from __future__ import annotations


class BundleProblem(Exception):
    """The common class of them."""


class NoBundle(BundleProblem):
    """There is no bundle in the folder."""


class Damaged(BundleProblem):
    """A file is not what it should be. The text begins with its name."""


class Untrusted(BundleProblem):
    """The bundle is whole, but signed with another key than the one that is trusted."""


class Misconfigured(BundleProblem):
    """A setting is missing or not possible. The text names it."""


class Busy(BundleProblem):
    """Another command works with the folder."""
