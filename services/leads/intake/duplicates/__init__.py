"""Customers that look alike: found by likeness, judged by points, told with the reasons (53, 70, 124)."""
