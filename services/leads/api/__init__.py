"""The gRPC face of leads: translates, and nothing else."""
