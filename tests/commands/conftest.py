"""Committed results, for the tests of the command that makes them."""

from support_committed import packed, runs, trained  # noqa: F401
