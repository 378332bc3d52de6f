"""Export requests: made by files, by the local engine while files is out (36-39)."""
