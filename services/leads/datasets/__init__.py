"""Datasets: what an export is made of (36-39), read from one snapshot."""
