"""`python -m services.notify`."""

from services.notify.main import main

if __name__ == "__main__":
    main()
