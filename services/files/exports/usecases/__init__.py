"""Claiming, making and reading exports (36-39).

A job is a row with a due time: queued, it is when it may be taken; running, it is when its lease ends. So a job whose
worker died is taken again by whoever comes next, and only the holder of the lease may end it. Each attempt writes to an
object of its own; the row that says `completed` is what makes one of them the file, so nobody ever sees half of one.
"""
