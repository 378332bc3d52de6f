"""`python -m services.gateway.ops`."""

from services.gateway.ops.main import main

if __name__ == "__main__":
    main()
