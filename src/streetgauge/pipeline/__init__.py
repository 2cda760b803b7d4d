"""One module for each arrow of the flow: it reads a study's files, calls a package, writes files.

The packages below work on arrays and frames; these modules know both them and the study. What each
stage depends on, reads and writes is in `streetgauge.study.stages`.
"""
