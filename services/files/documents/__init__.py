"""Documents: PDF of data and a template in a version (41)."""
