"""The study's own report: one HTML file with a page for each run and each task; see docs/study-report.md."""
