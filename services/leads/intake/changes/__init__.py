"""Every change of a field: who, when, from, to, why (88)."""
