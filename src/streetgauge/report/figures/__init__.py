"""The figures of a study, drawn once: for the report, for a paper, for slides and as numbers."""
