"""Random secrets in files of mode 0600, made once and found again."""

import os
import secrets
from pathlib import Path

SECRET_BYTES = 32


def secret_text(path: Path) -> str:
    """The secret in a file, made at random on first use. URL-safe characters only."""
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(SECRET_BYTES))
    return path.read_text(encoding="ascii").strip()


def secret_bytes(path: Path) -> bytes:
    """32 random bytes in a file, made on first use. None of them a line break: readers strip a last one."""
    if not path.exists():
        alphabet = bytes(set(range(256)) - set(b"\r\n"))
        write_secret(path, bytes(secrets.choice(alphabet) for _ in range(SECRET_BYTES)))
    return path.read_bytes()


def write_secret(path: Path, content: str | bytes) -> None:
    """Writes a file only we can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
