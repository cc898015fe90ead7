"""Write reports and analyses: HTML, Markdown, LaTeX, CSV, PNG, and lines for the terminal."""
