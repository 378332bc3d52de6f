"""The gRPC face of notify, by capability: translates, and nothing else."""
