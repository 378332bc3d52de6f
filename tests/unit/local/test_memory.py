"""Sessions of tests keep their servers' files in memory, each its own."""

from tests.support.memory import folder_in_memory


def test_two_sessions_at_a_time_have_a_folder_each(tmp_path):
    """What one writes, the other does not see."""
    elsewhere = tmp_path / "elsewhere"
    with folder_in_memory(elsewhere, memory=tmp_path, free_bytes_min=0) as mine:
        (mine / "file").write_text("mine")
        with folder_in_memory(elsewhere, memory=tmp_path, free_bytes_min=0) as theirs:
            assert mine != theirs
            assert not list(theirs.iterdir())
        assert (mine / "file").read_text() == "mine"
        assert elsewhere not in {mine, theirs}


def test_nothing_stays_in_memory(tmp_path):
    """When the session is over its files are gone; what a killed one left is gone when the next begins."""
    with folder_in_memory(tmp_path, memory=tmp_path, free_bytes_min=0) as place:
        (place / "server" / "data").mkdir(parents=True)
    assert not list(place.iterdir())
    (place / "left").write_text("by a killed session")
    with folder_in_memory(tmp_path, memory=tmp_path, free_bytes_min=0) as again:
        assert again == place
        assert not list(again.iterdir())


def test_where_memory_is_short_files_lie_elsewhere(tmp_path):
    """A container with a small /dev/shm, and a machine without one, still run the tests."""
    elsewhere = tmp_path / "elsewhere"
    with folder_in_memory(elsewhere, memory=tmp_path, free_bytes_min=1 << 62) as place:
        assert place == elsewhere
    with folder_in_memory(elsewhere, memory=tmp_path / "missing", free_bytes_min=0) as place:
        assert place == elsewhere
