"""Contracts of what is not ours: chat robots, the finance system, the object store (contracts/external/README.md).

`recorded.load` reads a provider's vectors, hashes first; `check.held` asks a provider for them; `check.whole` says whether all
of them are there and agree with themselves.
"""
