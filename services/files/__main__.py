"""`python -m services.files`."""

from services.files.main import main

if __name__ == "__main__":
    main()
