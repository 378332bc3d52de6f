"""Workbooks behind a password: opened by others, refused to the wrong word, whole, and in bounded memory."""

import io
import os
import subprocess
import tracemalloc

import olefile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msoffcrypto.exceptions import DecryptionError, InvalidKeyError

from breakwater.sheets import Column, ColumnType, FileFullError, XlsxWriter, compound, encryption
from breakwater.sheets.compound import Stream, write_compound
from breakwater.sheets.encryption import EncryptedPackage
from tests.support.encrypted import decrypted, is_whole, opened

pytestmark = pytest.mark.capability(36, 37)

PASSWORD = "密码 correct horse 😀"
SEGMENT_BYTES = 4_096
SECTOR_BYTES = 512
SPIN_COUNT = 10
"""Where many files are made: only how long guessing takes depends on it."""


def encrypted(content, password=PASSWORD, *, piece_bytes=100_000, **options):
    """The content behind a password, written in pieces."""
    sent = io.BytesIO()
    with EncryptedPackage(sent.write, password, **options) as package:
        for start in range(0, len(content), piece_bytes):
            package.write(content[start : start + piece_bytes])
        assert package.close() == len(sent.getvalue())
    return sent.getvalue()


@pytest.fixture(scope="module")
def by_libreoffice(tmp_path_factory):
    """The first sheet of a file as LibreOffice shows it to who knows this password; None where it does not open it."""
    folder = tmp_path_factory.mktemp("libreoffice")
    basic = folder / "profile/user/basic/Standard"
    program = ["soffice", "--headless", "--norestore", f"-env:UserInstallation={(folder / 'profile').as_uri()}"]

    def run(*arguments):
        subprocess.run([*program, *arguments], capture_output=True, timeout=100, check=True)

    run("--terminate_after_init")  # makes the profile, which the macro is put into
    (basic / "script.xlb").write_text(_LIBRARY)
    (basic / "Reading.xba").write_text(_MACRO)

    def read(content, password=PASSWORD):
        source, target = folder / "table.xlsx", folder / "table.csv"
        source.write_bytes(content)
        target.unlink(missing_ok=True)
        run(f'macro:///Standard.Reading.Convert("{source.as_uri()}","{password}","{target.as_uri()}")')
        return target.read_text("utf-8").splitlines() if target.exists() else None

    return read


@pytest.mark.parametrize("rows", [0, 1, 600])
def test_the_cells_are_those_of_the_plain_file(columns_of_every_type, xlsx, by_openpyxl, by_calamine, rows):
    """Also of a file so small that its package lives in the small pieces of the container."""
    table = [[f"{number:011}", number, "1234.50", "2026-01-05", "2026-01-05T01:30:00Z", True] for number in range(rows)]
    plain, _ = xlsx(columns_of_every_type, table)
    package = decrypted(encrypted(plain), PASSWORD)
    assert package == plain
    assert by_openpyxl(package) == by_openpyxl(plain)
    assert by_calamine(package) == by_calamine(plain)
    assert len(by_openpyxl(package)) == rows + 1


def test_a_writer_and_the_encryption_are_one_stream(by_openpyxl):
    """What the writer sends is encrypted as it comes: nothing of the plain package is in what leaves."""
    sent = io.BytesIO()
    with EncryptedPackage(sent.write, PASSWORD) as package:
        writer = XlsxWriter(package.write, [Column("name", "姓名", ColumnType.TEXT)])
        writer.write_rows([["王芳"]])
        writer.close()
        assert sent.getvalue() == b""
        package.close()
    assert b"PK\3\4" not in sent.getvalue()
    assert by_openpyxl(decrypted(sent.getvalue(), PASSWORD)) == [["姓名"], ["王芳"]]


def test_libreoffice_opens_it_with_the_password_and_without_it_does_not(xlsx, by_libreoffice):
    """The one office program that runs here."""
    plain, _ = xlsx([Column("phone", "电话"), Column("budget", "预算", ColumnType.DECIMAL)], [["013800138000", "1.50"]])
    file = encrypted(plain, "correct horse")
    assert by_libreoffice(file, "correct horse") == ["电话,预算", "013800138000,1.5"]
    assert by_libreoffice(file, "correct horses") is None


@pytest.mark.parametrize("wrong", ["", "密码 correct horse", PASSWORD.upper(), PASSWORD + " "])
def test_a_wrong_password_is_refused(wrong):
    """By the verifier in the file, before anything is decrypted."""
    file = encrypted(b"x" * 100, spin_count=SPIN_COUNT)
    with pytest.raises((InvalidKeyError, DecryptionError)):
        opened(file, wrong)


@pytest.mark.parametrize(
    "size_bytes",
    [
        *(1, 15, 16, 17, SEGMENT_BYTES - 9, SEGMENT_BYTES - 8, SEGMENT_BYTES - 7),
        *(size for segments in (1, 2, 64, 65) for size in (-1 + SEGMENT_BYTES * segments, SEGMENT_BYTES * segments)),
        *(1 + SEGMENT_BYTES * segments for segments in (1, 2, 64, 65)),
        # One table sector tells of 128 sectors, the header knows 109 tables, a list sector 127 more.
        *(SECTOR_BYTES * 128 * tables + more for tables in (1, 109, 236) for more in (-8_192, -4_096, 0, 4_096)),
    ],
)
def test_every_border_of_the_format_is_read_back(size_bytes):
    """Blocks, segments, small streams, tables and lists of tables; a strict reader finds no defect in the container."""
    content = os.urandom(size_bytes)
    file = encrypted(content, spin_count=SPIN_COUNT)
    container = olefile.OleFileIO(io.BytesIO(file), raise_defects=olefile.DEFECT_POTENTIAL)
    assert container.parsing_issues == []
    assert decrypted(file, PASSWORD) == content
    assert len(file) % SECTOR_BYTES == 0


@settings(max_examples=40, deadline=None)
@given(
    size_bytes=st.integers(1, 40_000) | st.integers(SEGMENT_BYTES - 40, SEGMENT_BYTES + 40),
    piece_bytes=st.integers(1, 9_000),
    password=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=60),
)
def test_any_size_in_any_pieces_behind_any_password_comes_back(size_bytes, piece_bytes, password):
    """What was written is what is read, however it came."""
    content = (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]
    file = encrypted(content, password, piece_bytes=piece_bytes, spin_count=SPIN_COUNT)
    assert decrypted(file, password) == content


@pytest.mark.parametrize("place", ["in its size", "in its first segment", "in its last segment"])
def test_a_changed_package_is_found_out(place):
    """One bit anywhere in what is encrypted, the size included, breaks the code over it."""
    file = bytearray(encrypted(os.urandom(3 * SEGMENT_BYTES), spin_count=SPIN_COUNT))
    container = olefile.OleFileIO(io.BytesIO(bytes(file)))
    [entry] = [each for each in container.direntries if each and each.name == "EncryptedPackage"]
    start = SECTOR_BYTES * (1 + entry.isectStart)
    assert is_whole(opened(bytes(file), PASSWORD))
    file[{"in its size": start, "in its first segment": start + 8}.get(place, start + entry.size - 1)] ^= 1
    assert not is_whole(opened(bytes(file), PASSWORD))


def test_two_files_of_the_same_rows_have_nothing_in_common():
    """Keys, salts and vectors are drawn anew for each file."""
    first, second = (encrypted(bytes(8_192), spin_count=SPIN_COUNT) for _ in range(2))
    package = slice(2 * SECTOR_BYTES + 8, 2 * SECTOR_BYTES + 8 + 8_192)
    blocks = [{file[package][at : at + 16] for at in range(0, 8_192, 16)} for file in (first, second)]
    assert not blocks[0] & blocks[1]
    assert len(blocks[0]) == len(blocks[1]) == 512


def test_the_parameters_are_those_that_offices_write():
    """AES-256 in CBC, SHA-512, 100,000 rounds: what ECMA-376 agile means today."""
    info = olefile.OleFileIO(io.BytesIO(encrypted(b"x"))).openstream("EncryptionInfo").read()
    assert info[:8] == bytes.fromhex("0400040040000000")
    for said in (b'spinCount="100000"', b'keyBits="256"', b'hashAlgorithm="SHA512"', b'cipherAlgorithm="AES"'):
        assert said in info


def test_memory_does_not_grow_with_the_package(tmp_path):
    """Past 8 MiB what waits is in a file, encrypted and without a name."""
    piece = os.urandom(256 * 1024)

    def peak(pieces):
        tracemalloc.start()
        with EncryptedPackage(len, PASSWORD, spool_dir=str(tmp_path), spin_count=SPIN_COUNT) as package:
            for _ in range(pieces):
                package.write(piece)
                assert list(tmp_path.iterdir()) == []
            package.close()
        bytes_max = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return bytes_max

    assert peak(160) < encryption.SPOOL_MEMORY_BYTES_MAX * 2.5


def test_what_waits_on_disk_is_encrypted(monkeypatch, tmp_path):
    """The disk never has a part of the plain package, not even for a moment."""
    monkeypatch.setattr(encryption, "SPOOL_MEMORY_BYTES_MAX", 1)
    with EncryptedPackage(len, PASSWORD, spool_dir=str(tmp_path), spin_count=SPIN_COUNT) as package:
        package.write(b"plain text " * 100_000)
        package._spool.seek(0)
        waiting = package._spool.read()
    assert len(waiting) >= 1_000_000
    assert b"plain" not in waiting


def test_a_package_past_its_limit_is_refused(monkeypatch):
    """While it is written, so that what waits is bounded, and the container's own at the end; the largest one passes."""
    largest = encrypted(bytes(10_000), size_bytes_max=10_000, spin_count=SPIN_COUNT)
    assert decrypted(largest, PASSWORD) == bytes(10_000)
    with pytest.raises(FileFullError, match="10000 bytes"):
        encrypted(bytes(10_001), size_bytes_max=10_000, spin_count=SPIN_COUNT)
    monkeypatch.setattr(compound, "SIZE_BYTES_MAX", len(largest))
    encrypted(bytes(10_000), spin_count=SPIN_COUNT)
    monkeypatch.setattr(compound, "SIZE_BYTES_MAX", len(largest) - 1)
    with pytest.raises(FileFullError, match=f"{len(largest) - 1} bytes"):
        encrypted(bytes(10_000), spin_count=SPIN_COUNT)


@pytest.mark.parametrize("password", ["", "x" * 256])
def test_a_password_that_no_office_takes_is_refused(password):
    """Empty or past 255 characters; 255 pass."""
    with pytest.raises(ValueError, match="1 to 255"):
        EncryptedPackage(len, password)
    assert decrypted(encrypted(b"x", "x" * 255, spin_count=SPIN_COUNT), "x" * 255) == b"x"


def test_a_stream_that_is_not_as_long_as_was_said_is_a_defect():
    """The tables are written by then: a file that contradicts them must not end as a good one."""
    with pytest.raises(ValueError, match="has 3 bytes, not 4"):
        write_compound(len, [Stream(("a",), 4, lambda: [b"abc"])])


def test_streams_of_a_container_are_found_by_name_whatever_their_number():
    """The directory is a search tree: a reader that walks it finds each of many siblings."""
    names = [f"stream {number}" for number in range(41)] + ["Zz", "aA"]
    sent = io.BytesIO()
    write_compound(sent.write, [Stream(("deep", name), len(name), lambda name=name: [name.encode()]) for name in names])
    container = olefile.OleFileIO(io.BytesIO(sent.getvalue()), raise_defects=olefile.DEFECT_POTENTIAL)
    assert sorted(path[-1] for path in container.listdir()) == sorted(names)
    for name in names:
        assert container.openstream(["deep", name]).read() == name.encode()


_LIBRARY = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE library:library PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "library.dtd">
<library:library xmlns:library="http://openoffice.org/2000/library" library:name="Standard">
<library:element library:name="Reading"/>
</library:library>
"""
_MACRO = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd">
<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Reading" script:language="StarBasic">
Sub Convert(source, password, target)
  Dim how(1) As New com.sun.star.beans.PropertyValue
  how(0).Name = "Hidden" : how(0).Value = True
  how(1).Name = "Password" : how(1).Value = password
  Dim look(1) As New com.sun.star.beans.PropertyValue
  look(0).Name = "FilterName" : look(0).Value = "Text - txt - csv (StarCalc)"
  look(1).Name = "FilterOptions" : look(1).Value = "44,34,76,1,,0,false,true,false"
  On Error Goto Ended
  book = StarDesktop.loadComponentFromURL(source, "_blank", 0, how())
  book.storeToURL(target, look())
  book.close(True)
Ended:
  StarDesktop.terminate()
End Sub
</script:module>
"""
