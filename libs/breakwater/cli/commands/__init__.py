"""One module a command: `breakwater can-deploy` is `can_deploy.py`, its click command is named `command`.

A name Python keeps for itself has an underscore behind it (`import_.py`). `breakwater --help` imports all of them, so what
is slow to import is imported inside of the function that needs it.
"""
