"""Launchers: consumers of one stream of run specifications."""
