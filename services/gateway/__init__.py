"""The gateway: the one HTTP surface for callers, owner of export requests and of their fallback."""
