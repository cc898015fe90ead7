"""A report and an analysis as files: HTML, Markdown, LaTeX, CSV, PNG, and lines for the terminal."""
