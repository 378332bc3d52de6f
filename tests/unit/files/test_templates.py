"""Templates: versions that never change, kept to their folder and to their size."""

import shutil

import pytest

from services.files.documents import templates
from services.files.documents.domain import DocumentFullError, Field, Kind, UnknownTemplateError, fitted
from services.files.documents.templates import TemplateRefusedError, load

pytestmark = pytest.mark.capability(41)

# What was made by a version is made again by it: a template changes by a new folder, never in its own.
KNOWN = {
    ("board", "1"): "19d17b00a2d33feb8fe0f92cbfb4f28e356d6c83df19d48f593ec4a7136c53c7",
    ("renewal", "1"): "082408ac3e893c48b2c09bce0989b456f660f99c13a74970923855ba1fb010ee",
    ("report", "1"): "70633e59d59b3224d13a15b7c04e4afbba1b75f984421848c51d7672adcc2287",
}


@pytest.fixture
def folder(tmp_path):
    """A copy of the shipped templates."""
    return shutil.copytree(templates.FOLDER, tmp_path / "templates")


def test_versions_are_those_that_were_shipped():
    """Every version there is has the hash it had when it was shipped; a new one is added here."""
    there = {(path.parent.name, path.name) for path in templates.FOLDER.glob("*/*")}
    assert {key: load(*key).stamp.sha256 for key in there} == KNOWN


def test_the_newest_version_is_used_when_none_is_named(folder):
    """By number: 10 is newer than 9. An older one stays within reach."""
    for version in ("9", "10"):
        shutil.copytree(folder / "report" / "1", folder / "report" / version)
    assert load("report", "", folder).stamp.version == "10"
    assert load("report", "9", folder).stamp.version == "9"
    assert load("report", "9", folder).stamp.sha256 == load("report", "", folder).stamp.sha256


@pytest.mark.parametrize(
    ("name", "version"), [("nothing", ""), ("report", "2"), ("../files", ""), ("report", "../1"), ("report", "01")]
)
def test_what_is_not_there_is_refused(folder, name, version):
    """Neither a name nor a version leads out of the folder of templates."""
    with pytest.raises(UnknownTemplateError):
        load(name, version, folder)


def test_any_change_is_another_hash(folder):
    """Of the source, of what it shows, of a file's name."""
    home = folder / "renewal" / "1"
    hashes = [load("renewal", "", folder).stamp.sha256]
    for change in (
        lambda: (home / "logo.svg").write_text("<svg/>"),
        lambda: (home / "template.typ").write_text("x"),
        lambda: (home / "logo.svg").rename(home / "other.svg"),
    ):
        change()
        hashes.append(load("renewal", "", folder).stamp.sha256)
    assert len(set(hashes)) == 4


def test_a_template_has_its_limits(folder, monkeypatch):
    """So many bytes and files, no link out of its folder, no package."""
    home = folder / "report" / "1"
    size_bytes = sum(path.stat().st_size for path in home.iterdir())
    monkeypatch.setattr(templates, "SIZE_BYTES_MAX", size_bytes)
    load("report", "", folder)
    monkeypatch.setattr(templates, "SIZE_BYTES_MAX", size_bytes - 1)
    with pytest.raises(TemplateRefusedError, match="bytes"):
        load("report", "", folder)
    monkeypatch.undo()
    for number in range(templates.FILES_MAX - 1):
        (home / f"{number}.svg").touch()
    with pytest.raises(TemplateRefusedError, match="files"):
        load("report", "", folder)


def test_a_template_asks_for_nothing_from_outside(folder):
    """A package would be fetched while a document is made; a link leads where no template may read."""
    home = folder / "report" / "1"
    source = home / "template.typ"
    source.write_text('#import "@preview/cetz:0.3.0"\n' + source.read_text())
    with pytest.raises(TemplateRefusedError, match="package"):
        load("report", "", folder)
    (folder / "renewal" / "1" / "secret.svg").symlink_to("/etc/passwd")
    with pytest.raises(TemplateRefusedError, match="link"):
        load("renewal", "", folder)


SCHEMA = {
    "name": Field(Kind.TEXT, 5),
    "lines": Field(Kind.LIST, 3, items_max=2),
    "rows": Field(Kind.TABLE, 2, items_max=2),
}


def test_data_are_fitted_to_their_schema():
    """What is too long ends visibly, and is counted; what just fits stays."""
    data = {"name": "12345", "lines": ["123", "1234"], "rows": [["1", "123"], ["12", ""]]}
    made, cuts = fitted(data, SCHEMA)
    assert made == {"name": "12345", "lines": ["123", "12…"], "rows": [["1", "1…"], ["12", ""]]}
    assert cuts == 2


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"lines": ["1", "2", "3"]}, DocumentFullError),
        ({"rows": [["1", "2", "3"]]}, DocumentFullError),
        ({"more": "x"}, ValueError),
    ],
)
def test_data_of_another_shape_are_refused(change, error):
    """More entries than there is room for, or fields that nobody shows."""
    with pytest.raises(error):
        fitted({"name": "", "lines": [], "rows": []} | change, SCHEMA)
    with pytest.raises(ValueError, match="takes"):
        fitted({"name": ""}, SCHEMA)
