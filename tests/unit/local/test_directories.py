"""Data directories: locked, written safely, and refused in words when they cannot be used."""

import pytest

from breakwater.local.directories import DataDirectory, require_free_space
from breakwater.local.errors import DirectoryInUseError, DiskFullError
from breakwater.local.secret_files import secret_bytes, secret_text


def test_a_full_disk_is_said_in_mebibytes(tmp_path):
    """The message names the place, what is left and what is needed."""
    with pytest.raises(DiskFullError, match=r"MiB free and \d+ MiB are needed"):
        require_free_space(tmp_path, 1 << 60)


def test_a_directory_has_one_holder(tmp_path):
    """The second is refused; when the first lets go it may have it."""
    first = DataDirectory(tmp_path / "data")
    with pytest.raises(DirectoryInUseError):
        DataDirectory(tmp_path / "data", patience_s=0)
    first.close()
    DataDirectory(tmp_path / "data", patience_s=0).close()


def test_a_file_is_never_written_through_a_link(tmp_path):
    """The account the server runs as may plant links in its directory: what they point at stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    data = DataDirectory(tmp_path / "data")
    for name in ("nats.conf", "nats.conf.new"):
        (tmp_path / "data" / name).symlink_to(victim)
    data.write("nats.conf", "ours")
    assert data.read("nats.conf") == "ours"
    assert victim.read_text() == "untouched"
    data.close()


def test_clearing_stays_inside(tmp_path):
    """Links are removed, not followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    data = DataDirectory(tmp_path / "data")
    (tmp_path / "data" / "link").symlink_to(outside)
    (tmp_path / "data" / "folder").mkdir()
    (tmp_path / "data" / "folder" / "file").touch()
    data.clear()
    assert list((tmp_path / "data").iterdir()) == []
    assert (outside / "kept").exists()
    data.close()


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path):
    """The same at the next call, mode 0600, below a directory of mode 0700."""
    path = tmp_path / "secrets" / "password"
    assert secret_text(path) == secret_text(path)
    assert len(secret_text(path)) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_binary_secret_survives_readers_that_strip(tmp_path):
    """No byte of it is a line break."""
    for number in range(50):
        key = secret_bytes(tmp_path / str(number))
        assert len(key) == 32
        assert not set(key) & {10, 13}
