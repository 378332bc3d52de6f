"""Every answer a channel may give, and what a client makes of it: ours, and Apprise beside it on the same servers."""
