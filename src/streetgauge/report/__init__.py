"""One HTML page that says what was found, how good it is, and what it was made from."""

from streetgauge.report.page import ReportData, render

__all__ = ["ReportData", "render"]
