"""What a file's name has of its location and view."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.imagery.patterns import Pattern

VIEWS = ("a", "b")


def owners(pattern: str, name: str, *wanted: str, views: tuple[str, ...] = VIEWS) -> list[object]:
    return list(Pattern(pattern, views).owners(name, set(wanted)))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{location_id}_{view}", "X_a.jpg"),
        ("{location_id}_{view}", "X_a.JPEG"),
        ("{location_id}_{view}", "X_a.webp"),
        ("{location_id}_{view}", "X_a"),
        ("{location_id}_{view}.*", "X_a.anything"),
        ("**/{location_id}_{view}.png", "X_a.png"),
        ("**/{location_id}_{view}.png", "2019/june/X_a.png"),
        ("2019/**/{location_id}_{view}.png", "2019/X_a.png"),
        ("*/{location_id}_{view}.png", "17/X_a.png"),
        ("*.tgz/**/{location_id}_{view}.png", "17.tgz/17/X_a.png"),
        ("IMG*-{location_id}_{view}.png", "IMG0017-X_a.png"),
        ("{location_id}/{location_id}_{view}.png", "X/X_a.png"),
        ("{location_id}_{view}.jpg", "X_a.JPG"),
        ("{location_id}_{view}.jpg", "X_a.jpeg"),
        ("{location_id}_{view}.JPEG", "X_a.jpg"),
        ("{location_id}_{view}.tif", "X_a.TIFF"),
        ("{location_id}_{view}.png", "X_a.PNG"),
        ("{location_id}_{view}", "X_a.HEIC"),
    ],
)
def test_patterns_fit_these_names(pattern: str, name: str) -> None:
    assert owners(pattern, name, "X", "Y") == [("X", "a")]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{location_id}_{view}", "X_a.txt"),
        ("{location_id}_{view}", "2019/X_a.jpg"),
        ("*/{location_id}_{view}.png", "X_a.png"),
        ("*/{location_id}_{view}.png", "1/2/X_a.png"),
        ("2019/**/{location_id}_{view}.png", "2018/X_a.png"),
        ("{location_id}_{view}.jpg", "X_axjpg"),
        ("{location_id}_{view}.jpg", "X_a.png"),
        ("{location_id}_{view}.jpg", "X_A.jpg"),
        ("{location_id}_{view}.txt", "X_a.TXT"),
        ("{location_id}/{location_id}_{view}.png", "Y/X_a.png"),
    ],
)
def test_patterns_do_not_fit_these_names(pattern: str, name: str) -> None:
    assert owners(pattern, name, "X", "Y") == []


def test_what_is_wanted_tells_how_a_name_is_meant() -> None:
    name = "IMG_1_12_a.png"
    assert owners("IMG_*_{location_id}_{view}.png", name, "12") == [("12", "a")]
    assert owners("IMG*_{location_id}_{view}.png", name, "1_12") == [("1_12", "a")]
    both = owners("IMG*_{location_id}_{view}.png", name, "1_12", "12")
    assert both == [("12", "a"), ("1_12", "a")]
    assert owners("{location_id}*_{view}.png", "12_a_b_a.png", "12", "12_a") == [
        ("12", "a"),
        ("12_a", "a"),
    ]


def test_an_id_that_ends_like_an_image_is_distinguished_from_its_suffix() -> None:
    assert Pattern("{location_id}", VIEWS).owners("X.jpg", {"X"}) == [("X", "")]
    assert Pattern("{location_id}", VIEWS).owners("X.jpg", {"X.jpg"}) == [("X.jpg", "")]
    both = Pattern("{location_id}", VIEWS).owners("X.jpg", {"X.jpg", "X"})
    assert both == [("X", ""), ("X.jpg", "")]


@pytest.mark.parametrize(
    "pattern",
    ["**/x/**/{location_id}_{view}", "*{location_id}*_{view}.png", "{location_id}_{view}/**"],
)
def test_a_pattern_that_can_be_read_in_several_ways_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="several ways"):
        Pattern(pattern, VIEWS)


@pytest.mark.parametrize(
    "pattern", ["../{location_id}_{view}", "/{location_id}_{view}", "a/../{view}"]
)
def test_a_pattern_that_leaves_the_folder_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="leaves the folder"):
        Pattern(pattern, VIEWS)


literal = st.text(st.characters(exclude_characters="/\0*{}", exclude_categories=["Cs"]), max_size=4)
ids = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6
)


def all_readings(
    pieces: list[str], name: str, wanted: list[str], views: list[str]
) -> set[tuple[str, str]]:
    """Brute force: fill in every location and view that is wanted, and look what is left of it."""
    found = set()
    for location in wanted:
        for view in views:
            filled = [{"L": location, "V": view}.get(piece[0], piece[1:]) for piece in pieces]
            at = next((i for i, piece in enumerate(pieces) if piece == "*"), len(pieces))
            head, tail = "".join(filled[:at]), "".join(filled[at + 1 :])
            if at == len(pieces):
                fits = name == head
            else:
                fits = name.startswith(head) and name.endswith(tail)
                fits &= len(name) >= len(head) + len(tail)
            if fits:
                found.add((location, view))
    return found


@given(
    parts=st.tuples(literal, literal, literal.filter(lambda text: bool(text.strip(".")))),
    star=st.integers(0, 3),
    wanted=st.lists(ids, min_size=1, max_size=4, unique=True),
    views=st.lists(ids, min_size=1, max_size=3, unique=True),
    data=st.data(),
)
def test_owners_are_all_readings_and_nothing_else(
    parts: tuple[str, str, str],
    star: int,
    wanted: list[str],
    views: list[str],
    data: st.DataObject,
) -> None:
    pieces = [f"={parts[0]}", "L", f"={parts[1]}", "V", f"={parts[2]}"]
    if star:
        pieces.insert({1: 1, 2: 2, 3: 4}[star], "*")
    signs = {"L": "{location_id}", "V": "{view}", "*": "*"}
    pattern = "".join(signs.get(piece[0], piece[1:]) for piece in pieces)
    location, view = data.draw(st.sampled_from(wanted)), data.draw(st.sampled_from(views))
    texts = {"L": location, "V": view, "*": data.draw(ids) if star else ""}
    name = "".join(texts.get(piece[0], piece[1:]) for piece in pieces)
    found = Pattern(pattern, views).owners(name, set(wanted))
    assert len(found) == len(set(found))
    assert set(found) == all_readings(pieces, name, wanted, views)
    assert (location, view) in found
