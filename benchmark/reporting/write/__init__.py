"""Tables and figures as text, Markdown, LaTeX, CSV, or one HTML page."""
