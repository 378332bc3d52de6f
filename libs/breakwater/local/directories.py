"""Directories a server owns alone: locked for as long as the server lives, reachable below closed parents."""

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path

from breakwater.local.errors import DirectoryInUseError, DiskFullError, LocalPlatformError
from breakwater.local.programs import Account, unprivileged_account

LOCK_PATIENCE_S = 10.0
LOCK_POLL_S = 0.05


class DataDirectory:
    """An open, locked directory.

    `reference` is a path through this process's open descriptor: a program that inherits `fd` reaches the directory by
    it whatever the parents' modes are. The lock belongs to the open descriptor, so an inheriting server keeps it: when
    the launcher is killed, nobody else starts on the data until the server is gone too.
    """

    def __init__(self, path: Path, *, patience_s: float = LOCK_PATIENCE_S) -> None:
        """Opens, and creates when missing. Waits `patience_s` for another holder to end.

        Raises DirectoryInUseError, or LocalPlatformError when it belongs to somebody else.
        """
        self.path = path
        _create(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.account = self._account()
            lock(self.fd, path, patience_s)
        except BaseException:
            os.close(self.fd)
            raise

    def _account(self) -> Account | None:
        owner = os.fstat(self.fd)
        if os.geteuid() == 0:
            return Account(owner.st_uid, owner.st_gid)
        if owner.st_uid != os.geteuid():
            raise LocalPlatformError(
                f"{self.path} belongs to user {owner.st_uid}: start as that user (or root), or name another --state."
            )
        return None

    @property
    def reference(self) -> str:
        """The directory as a program that inherits `fd` names it."""
        return f"/proc/self/fd/{self.fd}"

    def exists(self, name: str) -> bool:
        """Whether there is an entry of that name."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> str:
        """The text of a file."""
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.fd)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            return file.read()

    def write(self, name: str, text: str) -> None:
        """Replaces a file, readable by the owner alone; never through a link its owner may have planted."""
        self.remove(f"{name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(f"{name}.new", flags, 0o600, dir_fd=self.fd), "w", encoding="utf-8") as file:
            if self.account is not None:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)
            file.write(text)
        os.rename(f"{name}.new", name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Removes a file when it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def clear(self) -> None:
        """Removes everything in it."""
        for entry in list(Path(self.reference).iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry.name, dir_fd=self.fd)
            else:
                os.unlink(entry.name, dir_fd=self.fd)

    def rename(self, name: str) -> None:
        """Gives the directory another name beside its present one; lock and reference stay valid."""
        target = self.path.with_name(name)
        self.path.rename(target)
        self.path = target

    def close(self) -> None:
        """Lets go of it; the lock stays with a server that inherited it."""
        os.close(self.fd)


def lock(fd: int, path: Path, patience_s: float) -> None:
    """Locks an open file or directory, waiting up to `patience_s` seconds. Raises DirectoryInUseError."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DirectoryInUseError(f"{path} is in use by another process.") from None
            time.sleep(LOCK_POLL_S)
        else:
            return


def require_free_space(path: Path, size_bytes_min: int) -> None:
    """Raises DiskFullError when the file system below `path` has less left than `size_bytes_min`."""
    free_bytes = shutil.disk_usage(path).free
    if free_bytes < size_bytes_min:
        raise DiskFullError(
            f"{path} has {free_bytes >> 20} MiB free and {size_bytes_min >> 20} MiB are needed: "
            "free some space, or name another --state."
        )


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        account = unprivileged_account()
        os.chown(path, account.uid, account.gid)
