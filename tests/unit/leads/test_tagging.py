"""Words found in texts with their places (11, 71): offsets of the text as given, nothing missed beside a slow search."""

import unicodedata
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.chassis.errors import InvalidRequestError
from services.leads.followups.domain import further
from services.leads.intake.domain import Stage
from services.leads.tagging.domain import TEXT_CHARS_MAX, check_text, read_dictionary
from services.leads.tagging.matching import Matcher, fold

DOCUMENT = {
    "tags": [
        {"id": "budget-short", "title": "预算不足", "words": ["预算不足", "没预算"], "pain": True},
        {"id": "budget", "title": "预算", "words": ["预算"]},
        {"id": "erp", "title": "ERP替换", "words": ["ERP", "换erp"], "pain": True},
        {"id": "quote", "title": "报价", "words": ["报价"], "stage": "qualified"},
        {"id": "date", "title": "交期", "words": ["交期"], "stage": "contacted"},
    ]
}


def found(text):
    tagged = read_dictionary(DOCUMENT, 1).tag(text)
    return [(each.tag, text[each.start : each.end]) for each in tagged.highlights]


@pytest.mark.capability(11)
@pytest.mark.parametrize(
    ("text", "highlights"),
    [
        ("今年预算不足，明年预算再说", [("budget-short", "预算不足"), ("budget", "预算")]),
        ("要换ＥＲＰ，现在的 erp 太老", [("erp", "换ＥＲＰ"), ("erp", "erp")]),
        ("SERPENT 和 ERP2 都不是，ERP系统是", [("erp", "ERP")]),
        ("😀报价👍🏽交期", [("quote", "报价"), ("date", "交期")]),
        ("报\u200b价单\u200b", [("quote", "报\u200b价")]),
        ("没有", []),
        ("", []),
    ],
)
def test_words_are_found_whatever_their_width_and_case(text, highlights) -> None:
    """The longest word counts, Latin words stand alone, and the slice is of the text as it was given."""
    assert found(text) == highlights


ALPHABET = "aAａbB㈱株式会社ｶﾞガカé e\u0301ßsSﬁfi预算不足\u200b\ufe0f\u0301😀İ가ᄀ"
WORDS = st.text(ALPHABET, min_size=1, max_size=4).map(fold).filter(lambda word: 0 < len(word) <= 30 and word.strip())


def slow(words, text):
    """Every place of every word by trying each slice, then the leftmost and longest: nothing of the matcher is used."""

    def latin(char):
        return char.isascii() and char.isalnum()

    places = []
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            # A slice begins and ends with something that counts.
            if not fold(text[start]) or not fold(text[end - 1]):
                continue
            form, before, after = fold(text[start:end]), fold(text[:start])[-1:], fold(text[end:])[:1]
            if form not in words or (after and unicodedata.combining(after)):
                continue
            if (before and latin(before) and latin(form[0])) or (after and latin(after) and latin(form[-1])):
                continue
            places.append((start, -end, words.index(form)))
    taken, reached = [], 0
    for start, end, word in sorted(places):
        if start >= reached:
            taken.append((word, start, -end))
            reached = -end
    return taken


@pytest.mark.capability(11, 71)
@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=6, unique=True), st.text(ALPHABET, max_size=24))
def test_what_is_found_is_what_a_slow_search_finds(words, text) -> None:
    """Nothing is missed and nothing more is found, and each slice folds to its word."""
    matches = [(each.word, each.start, each.end) for each in Matcher(words).find(text)]
    assert matches == slow(words, text)
    assert all(fold(text[start:end]) == words[word] for word, start, end in matches)


@given(st.integers(min_value=4_070, max_value=4_100), st.sampled_from(["", "㈱"]))
def test_a_word_across_the_end_of_a_window_is_found(begin, head) -> None:
    """Long texts are searched a window at a time."""
    text = head + "一" * begin + "预算不足" + "一" * 5_000 + "报价"
    assert [word for _, word in found(text)] == ["预算不足", "报价"]


@pytest.mark.capability(12, 71)
def test_tags_are_counted_and_speak_for_pains_and_a_stage() -> None:
    """The most frequent first; the furthest stage of all that were found."""
    tagged = read_dictionary(DOCUMENT, 7).tag("交期多久？报价呢？没预算，报价")
    assert [(tag.id, tag.count) for tag in tagged.tags] == [("quote", 2), ("budget-short", 1), ("date", 1)]
    assert (tagged.dictionary_version, tagged.pain_tags, tagged.stage) == (7, ("预算不足",), Stage.QUALIFIED)


@pytest.mark.capability(71)
@pytest.mark.parametrize(
    ("present", "spoken_for", "moves_to"),
    [
        (Stage.NEW, Stage.QUALIFIED, Stage.QUALIFIED),
        (Stage.NEW, None, None),
        (Stage.QUALIFIED, Stage.CONTACTED, None),
        (Stage.CONTACTED, Stage.CONTACTED, None),
        (Stage.LOST, Stage.QUALIFIED, None),
    ],
)
def test_words_move_a_lead_on_and_never_back(present, spoken_for, moves_to) -> None:
    """An end stays an end."""
    assert further(present, spoken_for) is moves_to


@pytest.mark.parametrize("text", [" \n", "x" * (TEXT_CHARS_MAX + 1), "a\0b"])
def test_a_text_has_something_and_an_end(text) -> None:
    """Blank, too long, or what no table keeps: refused by name."""
    with pytest.raises(InvalidRequestError) as caught:
        check_text(text)
    assert [error.field for error in caught.value.errors] == ["text"]


def changed(index, **changes):
    document = deepcopy(DOCUMENT)
    document["tags"][index] |= changes
    return document


@pytest.mark.capability(11)
@pytest.mark.parametrize(
    ("document", "places"),
    [
        (changed(1, words=["预算", "没预算"]), ["tags[1].words[1]"]),
        (changed(2, words=["ERP", "ｅｒｐ"]), ["tags[2].words[1]"]),
        (changed(0, words=[]), ["tags[0].words"]),
        (changed(0, words=["\u200b", "ﷺ" * 3]), ["tags[0].words[0]", "tags[0].words[1]"]),
        (changed(3, id="erp"), ["tags[3].id"]),
        (
            changed(3, id="Quote", stage="won", pain="yes", colour=1),
            ["tags[3].colour", "tags[3].id", "tags[3].stage", "tags[3].pain"],
        ),
        ({"tags": ["x"], "words": []}, ["words", "tags[0]"]),
    ],
)
def test_every_mistake_of_a_dictionary_is_told_with_its_place(document, places) -> None:
    """A word of two tags would be a guess, whatever its width and case."""
    with pytest.raises(InvalidRequestError) as caught:
        read_dictionary(document, 1)
    assert [error.field for error in caught.value.errors] == places
