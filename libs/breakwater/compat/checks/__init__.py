"""One module a dimension: each turns what was observed of a candidate into findings against what is deployed."""
