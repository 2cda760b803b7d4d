"""A study: its directory and files, the table of stages, the record of its runs, its lock."""

from streetgauge.study.study import Done, Study

__all__ = ["Done", "Study"]
