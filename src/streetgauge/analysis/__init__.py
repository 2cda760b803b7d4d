"""Methods asked of the results of studies: comparisons, curves, power. No stage is run here."""
