"""`python -m breakwater.compat.consumers VERSION`: records the command's pacts in this tree and pins them."""

import asyncio
import sys
from pathlib import Path

from breakwater.compat.consumers import recorder

recorder.write(Path.cwd(), sys.argv[1], asyncio.run(recorder.record(Path.cwd())))
