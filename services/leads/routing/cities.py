"""Where Chinese cities are, by GB/T 2260 code, and how far apart (55). Pure but for the one file it reads."""

import csv
from collections.abc import Mapping
from functools import lru_cache
from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).with_name("cities.csv")
_EARTH_RADIUS_KM: Final = 6371.0
_PREFECTURE_DIGITS: Final = 4
_PROVINCE_DIGITS: Final = 2


@lru_cache(maxsize=1)
def _places() -> Mapping[str, tuple[float, float]]:
    with _FILE.open(encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {row["code"]: (float(row["longitude"]), float(row["latitude"])) for row in rows}


@lru_cache(maxsize=10_000)
def place_of(code: str) -> tuple[float, float] | None:
    """Longitude and latitude of a code; a county is where its prefecture is, and that where its province is."""
    places = _places()
    for digits in (len(code), _PREFECTURE_DIGITS, _PROVINCE_DIGITS):
        if len(code) >= digits and (place := places.get(code[:digits].ljust(6, "0")[:6])):
            return place
    return None


@lru_cache(maxsize=100_000)
def distance_km(one: str, other: str) -> int | None:
    """Whole kilometres between two cities along the great circle; None where one of them is not known."""
    here, there = place_of(one), place_of(other)
    if here is None or there is None:
        return None
    (lon1, lat1), (lon2, lat2) = here, there
    half = sin(radians(lat2 - lat1) / 2) ** 2
    half += cos(radians(lat1)) * cos(radians(lat2)) * sin(radians(lon2 - lon1) / 2) ** 2
    return round(2 * _EARTH_RADIUS_KM * asin(sqrt(min(1.0, half))))
