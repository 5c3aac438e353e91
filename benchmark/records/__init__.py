"""The identity of a run and the files it leaves: the only room that knows paths and JSON."""
