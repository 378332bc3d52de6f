"""The words of each kind of message, by language and version. Pure; no code runs in a template, names are put in.

A template is text with `$name` or `${name}`, as `string.Template` has it; `$$` is a dollar sign.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from string import Template as Pattern
from typing import Final

from breakwater.chassis.errors import FieldError

TITLE_CHARS_MAX: Final = 200
BODY_CHARS_MAX: Final = 4_000


@dataclass(frozen=True, slots=True)
class Template:
    """Version 0 came with the service; each change is one more."""

    name: str
    language: str
    title: str
    body: str
    version: int = 0
    changed_by: str = ""
    changed_at: datetime | None = None

    def render(self, values: Mapping[str, str]) -> tuple[str, str]:
        """Title and body, cut to their limits. A value that is missing leaves its name: rather that than no message."""
        title, body = (Pattern(text).safe_substitute(values) for text in (self.title, self.body))
        return cut(title.strip(), TITLE_CHARS_MAX), cut(body, BODY_CHARS_MAX)


@dataclass(frozen=True, slots=True)
class Wordbook:
    """Every template in its newest version, and what each may name."""

    templates: Mapping[tuple[str, str], Template]
    samples: Mapping[str, Mapping[str, str]]
    """By template: the names it may use, each with a value for a preview."""

    def render(self, name: str, language: str, values: Mapping[str, str]) -> tuple[str, str]:
        """Title and body in that language, else in the first one that has the template."""
        return self.templates.get((name, language), self.templates[name, "zh"]).render(values)

    def changed(self, newer: Mapping[tuple[str, str], Template]) -> "Wordbook":
        """With `newer` in place of what they replace; what nobody uses any more is passed over."""
        known = {key: template for key, template in newer.items() if key in self.templates}
        return Wordbook({**self.templates, **known}, self.samples)

    def faults(self, name: str, language: str, title: str, body: str) -> list[FieldError]:
        """What is wrong with a change of a template."""
        if (name, language) not in self.templates:
            return [FieldError("name", "no such template in that language")]
        faults = []
        for field, text, chars_max in (("title", title, TITLE_CHARS_MAX), ("body", body, BODY_CHARS_MAX)):
            pattern = Pattern(text)
            if not 1 <= len(text) <= chars_max:
                faults.append(FieldError(field, f"has 1 to {chars_max} characters"))
            elif not pattern.is_valid():
                faults.append(FieldError(field, "has a $ that begins no name; write $$ for a dollar sign"))
            elif unknown := sorted(set(pattern.get_identifiers()) - set(self.samples[name])):
                faults.append(FieldError(field, f"names {', '.join(unknown)}; known: {', '.join(self.samples[name])}"))
        return faults


def wordbook(document: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Wordbook:
    """From the file beside: a mapping of template to `values` and one section for each language."""
    templates, samples = {}, {}
    for name, sections in document.items():
        samples[name] = dict(sections["values"])
        for language, words in sections.items():
            if language != "values":
                templates[name, language] = Template(name, language, words["title"], words["body"])
    return Wordbook(templates, samples)


def cut(text: str, chars_max: int) -> str:
    """The text, or as much of its beginning as fits with an ellipsis."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
