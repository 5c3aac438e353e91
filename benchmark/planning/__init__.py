"""From what a user asks for to the runs that answer it, and back to a command."""
