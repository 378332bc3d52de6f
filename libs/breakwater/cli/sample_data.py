"""Loads generated sample data through the gateway, as any caller would."""

import asyncio
import contextlib
import threading
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from breakwater.cli.client import Api
from breakwater.cli.errors import CommandError
from breakwater.cli.importing import ImportFile, import_file
from breakwater.cli.options import Options
from breakwater.local.sample import generate


async def load_beside(options: Options, seed: int) -> None:
    """`load_sample` beside the running loop, in a thread that a Ctrl-C does not wait for."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if not loaded.done():
            loaded.set_exception(error) if error else loaded.set_result(None)

    def load() -> None:
        error: Exception | None = None
        try:
            load_sample(options, seed)
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is raised where it is awaited
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=load, name="sample-data", daemon=True).start()
    await loaded


def load_sample(options: Options, seed: int) -> None:
    """Imports what `seed` generates; rows that are there already are merged. Raises CommandError."""
    with TemporaryDirectory(prefix="breakwater-sample-") as folder, Api(options, own_token=True) as api:
        for sample in generate(seed, datetime.now(UTC).date()):
            path = Path(folder) / sample.name
            path.write_text(sample.content, encoding="utf-8")
            file = ImportFile(path, "", sample.mapping)
            report = import_file(api, file, reassign=False, progress=lambda _: None)
            if report["state"] != "completed" or report["rejected"]:
                reasons = "; ".join(f"row {each['row']}: {each['reason']}" for each in report["rejections"][:5])
                raise CommandError(f"{sample.name} was not imported: {report['failure'] or reasons}")
            options.say(f"sample data: {sample.name}, {report['rows']} rows")
