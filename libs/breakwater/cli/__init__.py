"""The `breakwater` command. Each command is a module of `breakwater.cli.commands` and is imported when it is called."""
