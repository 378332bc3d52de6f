"""One template, compiled by typst with data: data are passed as data, they are never part of a source."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import typst

from services.files.documents import fonts
from services.files.documents.domain import DocumentFullError, fitted
from services.files.documents.templates import Template
from services.files.documents.text import printable

_TOO_MANY_PAGES: Final = "too many pages"
"""What templates say when they pass `pages_max`."""


class Renderer:
    """Makes documents of one template. The same template, data and time of creation give the same bytes."""

    def __init__(self, template: Template, *, created_at: datetime, pages_max: int) -> None:
        self._template = template
        self._created_at = created_at
        self._pages_max = pages_max
        self._compiler = typst.Compiler(
            template.source,
            root=template.folder,
            font_paths=typst.Fonts(
                include_system_fonts=False, include_embedded_fonts=False, font_paths=list(fonts.folders())
            ),
            ignore_system_fonts=True,
        )

    def pdf(self, data: Mapping[str, Any]) -> bytes:
        """A document. Raises DocumentFullError, ValueError where the data are not the template's."""
        made, cuts = fitted(_printable(data), self._template.schema)
        stamp = self._template.stamp
        told = {
            "data": made,
            "cuts": cuts,
            "pages_max": self._pages_max,
            "template": f"{stamp.template} {stamp.version}",
            "sha256": stamp.sha256,
        }
        try:
            pdf = self._compiler.compile(
                format="pdf",
                sys_inputs={"told": json.dumps(told, ensure_ascii=False)},
                timestamp=self._created_at,
                pdf_tags=False,
            )
        except typst.TypstError as error:
            if _TOO_MANY_PAGES in error.message:
                raise DocumentFullError(f"A document has at most {self._pages_max} pages.") from error
            raise
        if not isinstance(pdf, bytes):
            raise TypeError("one document is one piece of bytes")
        return pdf


def _printable(value: Any) -> Any:
    match value:
        case str():
            return printable(value)
        case Mapping():
            return {name: _printable(each) for name, each in value.items()}
        case _:
            return [_printable(each) for each in value]
