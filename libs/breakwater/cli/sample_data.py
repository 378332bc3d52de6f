"""Loads generated sample data through the gateway, as any caller would."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from breakwater.cli.client import Api
from breakwater.cli.errors import CommandError
from breakwater.cli.importing import ImportFile, import_file
from breakwater.cli.options import Options
from breakwater.local.sample import generate


def load_sample(options: Options, seed: int) -> None:
    """Imports what `seed` generates; rows that are there already are merged. Raises CommandError."""
    with TemporaryDirectory(prefix="breakwater-sample-") as folder, Api(options) as api:
        for sample in generate(seed, datetime.now(UTC).date()):
            path = Path(folder) / sample.name
            path.write_text(sample.content, encoding="utf-8")
            file = ImportFile(path, "", sample.mapping)
            report = import_file(api, file, reassign=False, progress=lambda _: None)
            if report["state"] != "completed" or report["rejected"]:
                reasons = "; ".join(f"row {each['row']}: {each['reason']}" for each in report["rejections"][:5])
                raise CommandError(f"{sample.name} was not imported: {report['failure'] or reasons}")
            options.say(f"sample data: {sample.name}, {report['rows']} rows")
