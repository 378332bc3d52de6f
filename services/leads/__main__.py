"""`python -m services.leads`."""

from services.leads.main import main

if __name__ == "__main__":
    main()
