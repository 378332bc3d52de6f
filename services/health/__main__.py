"""`python -m services.health`."""

from services.health.main import main

if __name__ == "__main__":
    main()
