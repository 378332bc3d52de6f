"""The committed stubs are what protoc makes of proto/ today."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_committed_stubs_are_fresh(tmp_path):
    """Generating again into an empty folder gives the committed files, no more and no fewer."""
    subprocess.run(
        ["make", "--no-print-directory", "stubs", f"STUBS={tmp_path}", f"BIN={Path(sys.executable).parent}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*_pb2*")}
    committed = {path.relative_to(ROOT / "libs"): path.read_bytes() for path in (ROOT / "libs").rglob("*_pb2*.py*")}
    committed = {name: content for name, content in committed.items() if name.suffix in {".py", ".pyi"}}
    assert made.keys() == committed.keys()
    assert [str(name) for name in made if made[name] != committed[name]] == []
    assert len(made) > 20
