"""The report of a period: checks with their targets, counted by the boards' judgement (2, 7, 43, 63, 117)."""
