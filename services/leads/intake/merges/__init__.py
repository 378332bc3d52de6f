"""Two customers made one, with all that is theirs, and taken apart again (53)."""
