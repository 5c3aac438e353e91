"""What a run is, and what is kept of it: the only room that knows paths and JSON."""
