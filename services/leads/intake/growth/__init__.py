"""Progressive capture: fields that a lead's growth unlocks, how complete it is, and what fills itself (54, 75-78)."""
