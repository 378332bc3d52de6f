"""The mapping language: how the columns of a file become fields of a dataset (docs/mappings.md). Pure."""

import codecs
import dataclasses
import re
from collections.abc import Iterable
from collections.abc import Mapping as ReadMapping
from dataclasses import dataclass
from typing import TypeAlias
from zoneinfo import ZoneInfo

from services.leads.intake.imports.fields import FIELDS, REFERRING, Dataset, Field, FieldType

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
"""A document whose scalars are all text."""

ENCODINGS = frozenset(
    {"utf-8", "utf-16", "gb18030", "gbk", "gb2312", "big5", "shift_jis", "euc-kr", "windows-1252", "iso-8859-1"}
)
DELIMITERS = {",": ",", "comma": ",", ";": ";", "semicolon": ";", "\t": "\t", "tab": "\t", "|": "|", "pipe": "|"}
BLANKS = ("-", "--", "n/a", "null", "none", "无")
"""Words that mean an empty cell, unless a mapping names its own."""
SEPARATORS_MAX = 10

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_FILE = re.compile(r"[^/\\\x00]{1,200}")
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a mapping and where, as a dotted path."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Template:
    """Text with `{Header}` in it; one whose headers are all blank gives nothing."""

    text: str
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column's way into one field."""

    header: str
    field: str
    formats: tuple[str, ...] = ()
    """strptime formats of a date, tried in order before the known ones."""
    words: ReadMapping[str, str] = dataclasses.field(default_factory=dict)
    """The file's word, folded -> ours."""
    otherwise: str | None = None
    """What a word not in `words` becomes; None: a choice refuses it, a text keeps it."""


@dataclass(frozen=True, slots=True)
class Related:
    """A sibling file of the same export and the mapping it is read by."""

    file: str
    mapping: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """A validated mapping."""

    name: str
    dataset: Dataset
    columns: tuple[Column, ...]
    values: ReadMapping[str, Template] = dataclasses.field(default_factory=dict)
    """What fills a field that no column fills."""
    external_id: Template | None = None
    refs: tuple[Template, ...] = ()
    optional: frozenset[str] | None = frozenset()
    """Folded headers a file may lack; None: all of them."""
    blanks: frozenset[str] = frozenset(BLANKS)
    format: str = "auto"
    encoding: str = "auto"
    delimiter: str = "auto"
    sheet: str = ""
    preamble: bool = False
    """Rows of instructions may stand above the header."""
    directory: str = ""
    """Of people: the file is this directory in full; who is missing from a later one is found."""
    department_levels: str = "/"
    department_lists: str = ";；"
    """Any of these characters parts the levels of a department, and several departments."""
    decimal_comma: bool = False
    zone: str = "Asia/Shanghai"
    phone_region: str = "CN"
    before: tuple[Related, ...] = ()
    after: tuple[Related, ...] = ()

    @property
    def fields(self) -> ReadMapping[str, Field]:
        """What rows of this dataset can hold."""
        return FIELDS[self.dataset]

    def is_header(self, cells: Iterable[str]) -> bool:
        """Whether the row of a file names a column for every mandatory field."""
        found = {fold(cell) for cell in cells}
        filling: dict[str, set[str]] = {}
        for column in self.columns:
            filling.setdefault(column.field, set()).add(fold(column.header))
        for name, template in self.values.items():
            filling.setdefault(name, set()).update(fold(header) for header in template.headers)
        return all(
            not filling[name] or not filling[name].isdisjoint(found)
            for name, known in self.fields.items()
            if known.mandatory
        )

    def may_lack(self, header: str) -> bool:
        """Whether a file without this column is fine."""
        return self.optional is None or fold(header) in self.optional


def fold(text: str) -> str:
    """A header or word as it is compared: case, spaces, full width and a byte-order mark do not matter."""
    # NFKC without importing a table: str.casefold after mapping the full-width block, which is all headers need.
    return "".join(text.translate(_HALF_WIDTH).casefold().split())


_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " ", 0xFEFF: None, 0x200B: None}


def read_mapping(name: str, tree: Tree) -> tuple[Mapping | None, list[Fault]]:
    """The mapping a document describes, or None and everything that is wrong with it."""
    reader = _Reader()
    mapping = reader.mapping(name, tree)
    return (None, reader.faults) if reader.faults else (mapping, [])


class _Reader:
    """Reads a tree into a Mapping and collects every fault instead of stopping at the first."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._known: ReadMapping[str, Field] = {}

    def fault(self, place: str, reason: str) -> None:
        self.faults.append(Fault(place, reason))

    def mapping(self, name: str, tree: Tree) -> Mapping | None:
        if not isinstance(tree, dict):
            self.fault("", "must be a table of settings with `dataset` and `columns`")
            return None
        self.unknown_keys("", tree, _SETTINGS)
        dataset = self.choice("dataset", tree.get("dataset", ""), [item.value for item in Dataset])
        if dataset is None:
            return None
        self._known = FIELDS[Dataset(dataset)]
        columns = self.columns(tree.get("columns", {}))
        values = {
            key: template
            for key, text in self.table("values", tree.get("values", {})).items()
            if self.known_field(f"values.{key}", key) and (template := self.template(f"values.{key}", text))
        }
        external_id = self.template("external_id", tree["external_id"]) if "external_id" in tree else None
        ref_texts = self.texts("refs", tree.get("refs", []))
        refs = [t for index, text in enumerate(ref_texts) if (t := self.template(f"refs.{index}", text))]
        templates = [*values.values(), *refs, *([external_id] if external_id else [])]
        headers = {column.header for column in columns} | {name for t in templates for name in t.headers}
        filled = {column.field for column in columns} | set(values)
        for key, item in self._known.items():
            if item.mandatory and key not in filled:
                self.fault("columns", f"nothing fills the mandatory field {key!r} ({item.title})")
        if refs and Dataset(dataset) not in REFERRING:
            self.fault("refs", f"{dataset} refer to no customer; use external_id")
        related = self.table("related", tree.get("related", {}))
        self.unknown_keys("related", related, {"before", "after"})
        return Mapping(
            name=name,
            dataset=Dataset(dataset),
            columns=tuple(columns),
            values=values,
            external_id=external_id,
            refs=tuple(refs),
            optional=self.optional(tree.get("optional", []), {fold(header) for header in headers}),
            blanks=frozenset(fold(text) for text in self.texts("blanks", tree.get("blanks", list(BLANKS)))),
            format=self.choice("format", tree.get("format", "auto"), ["auto", "csv", "xlsx"]) or "auto",
            encoding=self.encoding(tree.get("encoding", "auto")),
            delimiter=self.delimiter(tree.get("delimiter", "auto")),
            sheet=self.text("sheet", tree.get("sheet", "")),
            preamble=self.choice("preamble", tree.get("preamble", "no"), ["no", "yes"]) == "yes",
            directory=self.directory(Dataset(dataset), tree.get("directory", "")),
            department_levels=self.separators("department_levels", tree.get("department_levels", "/")),
            department_lists=self.separators("department_lists", tree.get("department_lists", ";；")),
            decimal_comma=self.choice("decimal_comma", tree.get("decimal_comma", "no"), ["no", "yes"]) == "yes",
            zone=self.zone(tree.get("zone", "Asia/Shanghai")),
            phone_region=self.phone_region(tree.get("phone_region", "CN")),
            before=tuple(self.related("related.before", related.get("before", []))),
            after=tuple(self.related("related.after", related.get("after", []))),
        )

    def unknown_keys(self, place: str, table: ReadMapping[str, Tree], known: Iterable[str]) -> None:
        for key in table:
            if key not in known:
                self.fault(f"{place}.{key}" if place else key, f"is none of {', '.join(sorted(known))}")

    def text(self, place: str, tree: Tree) -> str:
        if isinstance(tree, str):
            return tree
        self.fault(place, "must be text")
        return ""

    def texts(self, place: str, tree: Tree) -> list[str]:
        if isinstance(tree, list):
            return [self.text(f"{place}.{index}", item) for index, item in enumerate(tree)]
        self.fault(place, "must be a list")
        return []

    def table(self, place: str, tree: Tree) -> dict[str, Tree]:
        if isinstance(tree, dict):
            return tree
        if tree != "":
            self.fault(place, "must be a table")
        return {}

    def choice(self, place: str, tree: Tree, choices: list[str]) -> str | None:
        text = self.text(place, tree)
        if text in choices:
            return text
        self.fault(place, f"is none of {', '.join(choices)}")
        return None

    def known_field(self, place: str, name: str) -> bool:
        if name in self._known:
            return True
        self.fault(place, f"{name!r} is no field; there are {', '.join(self._known)}")
        return False

    def template(self, place: str, tree: Tree) -> Template | None:
        text = self.text(place, tree)
        headers = tuple(_PLACEHOLDER.findall(text))
        rest = _PLACEHOLDER.sub("", text)
        if "{" in rest or "}" in rest:
            self.fault(place, "has a brace that does not close; write {Header}")
        elif not text:
            self.fault(place, "is empty")
        else:
            return Template(text, headers)
        return None

    def columns(self, tree: Tree) -> list[Column]:
        table = self.table("columns", tree)
        columns: list[Column] = []
        headers: set[str] = set()
        for header, entry in table.items():
            place = f"columns.{header}"
            if not fold(header) or fold(header) in headers:
                self.fault(place, "is empty or is the same header as another one")
            headers.add(fold(header))
            # One column may fill several fields: a status word its stage and, as it came, source_status.
            for index, item in enumerate(entry) if isinstance(entry, list) else ((-1, entry),):
                column = self.column(place if index < 0 else f"{place}.{index}", header, item)
                if column is not None:
                    columns.append(column)
        if not columns and not self.faults:
            self.fault("columns", "names no column")
        return columns

    def column(self, place: str, header: str, tree: Tree) -> Column | None:
        options = {"field": tree} if isinstance(tree, str) else self.table(place, tree)
        self.unknown_keys(place, options, _COLUMN_OPTIONS)
        name = self.text(f"{place}.field", options.get("field", ""))
        if not self.known_field(place, name):
            return None
        known = self._known[name]
        for option, types in _COLUMN_OPTIONS.items():
            if option in options and known.type not in types:
                self.fault(f"{place}.{option}", f"means nothing for {name!r}, which is a {known.type.value}")
        words = {
            fold(word): self.word(f"{place}.words.{word}", known, target)
            for word, target in self.table(f"{place}.words", options.get("words", {})).items()
        }
        return Column(
            header=header,
            field=name,
            formats=tuple(self.texts(f"{place}.formats", options.get("formats", []))),
            words=words,
            otherwise=self.word(f"{place}.otherwise", known, options["otherwise"]) if "otherwise" in options else None,
        )

    def word(self, place: str, known: Field, tree: Tree) -> str:
        text = self.text(place, tree)
        allowed = ("true", "false") if known.type is FieldType.BOOLEAN else known.choices
        if allowed and text not in allowed:
            self.fault(place, f"is none of {', '.join(allowed)}")
        return text

    def optional(self, tree: Tree, headers: set[str]) -> frozenset[str] | None:
        if tree == "all":
            return None
        names = self.texts("optional", tree)
        for index, text in enumerate(names):
            if fold(text) not in headers:
                self.fault(f"optional.{index}", f"{text!r} is no header this mapping reads")
        return frozenset(fold(text) for text in names)

    def encoding(self, tree: Tree) -> str:
        text = self.text("encoding", tree).lower()
        if text != "auto" and text not in ENCODINGS:
            self.fault("encoding", f"is none of auto, {', '.join(sorted(ENCODINGS))}")
            return "auto"
        return text if text == "auto" else codecs.lookup(text).name

    def delimiter(self, tree: Tree) -> str:
        text = self.text("delimiter", tree)
        if text != "auto" and text not in DELIMITERS:
            self.fault("delimiter", "is none of auto, comma, semicolon, tab, pipe")
        return DELIMITERS.get(text, "auto")

    def directory(self, dataset: Dataset, tree: Tree) -> str:
        text = self.text("directory", tree)
        if text and dataset is not Dataset.PEOPLE:
            self.fault("directory", "means nothing for what are no people")
        elif text and not _NAME.fullmatch(text):
            self.fault("directory", "must be lower-case letters, digits and hyphens")
        return text

    def separators(self, place: str, tree: Tree) -> str:
        text = self.text(place, tree)
        if not 1 <= len(text) <= SEPARATORS_MAX:
            self.fault(place, f"must be 1 to {SEPARATORS_MAX} characters")
        return text

    def zone(self, tree: Tree) -> str:
        text = self.text("zone", tree)
        try:
            return ZoneInfo(text).key
        except (KeyError, ValueError, OSError):
            self.fault("zone", "is no time zone such as Asia/Shanghai")
            return "UTC"

    def phone_region(self, tree: Tree) -> str:
        text = self.text("phone_region", tree)
        if not re.fullmatch(r"[A-Z]{2}", text):
            self.fault("phone_region", "is no country such as CN")
        return text

    def related(self, place: str, tree: Tree) -> Iterable[Related]:
        if not isinstance(tree, list):
            self.fault(place, "must be a list of {file, mapping}")
            return
        for index, item in enumerate(tree):
            here = f"{place}.{index}"
            entry = self.table(here, item)
            self.unknown_keys(here, entry, {"file", "mapping"})
            file = self.text(f"{here}.file", entry.get("file", ""))
            mapping = self.text(f"{here}.mapping", entry.get("mapping", ""))
            # A file beside the one imported, never a path elsewhere.
            if not _FILE.fullmatch(file) or file in {".", ".."}:
                self.fault(f"{here}.file", "must be the name of a file in the same folder")
            if not _NAME.fullmatch(mapping):
                self.fault(f"{here}.mapping", "must be the name of a shipped mapping")
            yield Related(file, mapping)


_SETTINGS = frozenset(
    {
        "title", "dataset", "columns", "values", "external_id", "refs", "optional", "blanks", "format", "encoding",
        "delimiter", "sheet", "preamble", "directory", "department_levels", "department_lists", "decimal_comma", "zone",
        "phone_region", "related",
    }
)  # fmt: skip
_ANY = frozenset(FieldType)
_COLUMN_OPTIONS: ReadMapping[str, frozenset[FieldType]] = {
    "field": _ANY,
    "formats": frozenset({FieldType.DATETIME}),
    "words": frozenset({FieldType.TEXT, FieldType.CHOICE, FieldType.BOOLEAN}),
    "otherwise": frozenset({FieldType.TEXT, FieldType.CHOICE, FieldType.BOOLEAN}),
}
