"""docs/capabilities.md says what the tests show, no more and no less."""

from tests.support.capabilities import ROOT, STATES, marked, rows


def test_the_table_has_every_id_of_the_catalogue_once():
    """Ids 1 to 140, in order, each in a state there is."""
    table = rows()
    assert [row.id for row in table] == list(range(1, 141))
    assert {row.state for row in table} <= set(STATES)


def test_a_capability_is_claimed_exactly_where_tests_carry_its_marker():
    """Whole or part needs a test and a place; open has neither."""
    carried = marked()
    wrong = [row.id for row in rows() if (row.state == "open") == (row.id in carried)]
    assert wrong == []
    assert [row.id for row in rows() if row.state != "open" and not row.places] == []
    assert [row.id for row in rows() if row.state == "open" and row.tests] == []


def test_the_table_names_the_tests_that_carry_the_marker():
    """The last column is what `make capabilities` writes."""
    carried = marked()
    stale = [row.id for row in rows() if set(row.tests) != carried.get(row.id, set())]
    assert stale == [], "run `make capabilities`"


def test_every_place_exists():
    """A capability lives where the table says."""
    assert [place for row in rows() for place in row.places if not (ROOT / place).exists()] == []
