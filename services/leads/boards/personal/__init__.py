"""The personal board: what one person has open, what is overdue, what is due today (101)."""
