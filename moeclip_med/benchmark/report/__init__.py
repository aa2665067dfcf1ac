"""The report of a benchmark: Markdown, CSV, JSON and a self-contained HTML page."""
