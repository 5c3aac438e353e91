"""Committed results, for the tests of them."""

from support_committed import packed, runs, trained  # noqa: F401
