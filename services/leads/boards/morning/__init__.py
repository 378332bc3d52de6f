"""Boards sent each morning: to supervisors how soon their team answered, to everybody what waits for them (6, 101)."""
