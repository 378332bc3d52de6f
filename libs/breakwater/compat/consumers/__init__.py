"""Pacts of HTTP consumers: what each was recorded asking and leaning on (contracts/pacts/README.md), held against a candidate.

Unlike Pact's documented use no header is overridden: the credential is minted anew at each run and goes where the consumer
was recorded putting it.
"""
