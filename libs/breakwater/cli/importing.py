"""Sends files to the platform and waits until their rows are in."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from breakwater.cli.client import PATIENCE_S, Api
from breakwater.cli.errors import CommandError

POLL_MIN_S = 0.1
POLL_MAX_S = 1.0
FINISHED = frozenset({"completed", "failed"})
REJECTIONS_PAGE = 200

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A file and how to read it: a shipped mapping's name, or the text of a mapping of one's own."""

    path: Path
    mapping: str
    document: str = ""


def files_of(path: Path, mapping: str, *, only: bool) -> list[ImportFile]:
    """The file, with the files beside it that its mapping names as related, in the order they are to be imported."""
    own = Path(mapping)
    if own.suffix in {".yaml", ".yml"}:
        try:
            document = own.read_text(encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{own} cannot be read: {error.strerror}.") from error
        main = ImportFile(path, "", document)
    else:
        document = _shipped(mapping)
        main = ImportFile(path, mapping)
    related = {} if only else _related(document)
    return [*_beside(path, related.get("before")), main, *_beside(path, related.get("after"))]


def import_file(api: Api, file: ImportFile, *, reassign: bool, progress: Progress) -> dict[str, Any]:
    """Uploads and waits; the finished import as the platform describes it, with all its `rejections`.

    Survives restarts of the platform: what was acknowledged is durable, what was not is sent again under the same key.
    """
    key = str(uuid.uuid4())
    fields = {"mapping": file.mapping} if file.mapping else {"mapping_document": file.document}
    if reassign:
        fields["reassign"] = "true"
    with file.path.open("rb") as content:
        state = api.request(
            "POST",
            "/v1/imports",
            patience_s=PATIENCE_S,
            headers={"Idempotency-Key": key},
            data=fields,
            files={"file": (file.path.name, content, "application/octet-stream")},
        )
    poll_s = POLL_MIN_S
    while state["state"] not in FINISHED:
        progress(state)
        time.sleep(poll_s)
        poll_s = min(poll_s * 1.5, POLL_MAX_S)
        state = api.get(f"/v1/imports/{state['id']}", patience_s=PATIENCE_S)
    progress(state)
    return {"file": file.path.name, **state, "rejections": list(_rejections(api, state))}


def _rejections(api: Api, state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cursor = ""
    while state["rejected"]:
        page = api.get(state["errors_url"], patience_s=PATIENCE_S, limit=REJECTIONS_PAGE, cursor=cursor)
        yield from page["items"]
        cursor = page["next_cursor"] or ""
        if not cursor:
            return


def _shipped(mapping: str) -> str:
    # Data files of the installed platform; nothing of a service is imported. A remote client may lack them.
    spec = find_spec("services")
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / "leads" / "intake" / "mappings" / f"{mapping}.yaml"
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return ""


def _related(document: str) -> dict[str, Any]:
    try:
        parsed = yaml.safe_load(document) or {}
    except yaml.YAMLError as error:
        raise CommandError(f"The mapping is no YAML: {error}") from error
    related = parsed.get("related", {}) if isinstance(parsed, dict) else {}
    return related if isinstance(related, dict) else {}


def _beside(path: Path, entries: Any) -> list[ImportFile]:
    files = [ImportFile(path.with_name(entry["file"]), entry["mapping"]) for entry in entries or []]
    return [file for file in files if file.path.is_file()]
