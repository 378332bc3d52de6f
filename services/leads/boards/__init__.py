"""Boards: how soon leads are answered (6), and what one person has to do (101)."""
