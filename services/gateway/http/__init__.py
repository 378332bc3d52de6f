"""HTTP in front of the services: callers, limits and problems; the routes only translate."""
