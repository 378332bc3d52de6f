"""The local platform: real PostgreSQL and NATS from their wheels, and the supervisor that runs all of it."""
