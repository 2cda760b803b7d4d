from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.io.tables.raw import decoded, delimiter_of, encoding_of


def blocks(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


@given(text=st.text(min_size=1), size=st.integers(1, 7))
def test_utf8_is_seen_in_blocks_that_end_inside_a_character(text: str, size: int) -> None:
    assert encoding_of(blocks(text.encode(), size)) == "utf-8-sig"


@pytest.mark.parametrize(
    ("content", "encoding", "text"),
    [
        (b"\xef\xbb\xbfa", "utf-8-sig", "a"),
        ("é".encode("utf-16"), "utf-16", "é"),
        (b"\xfe\xff\x00\xe9", "utf-16", "é"),
        (b"\x80 \xe9", "cp1252", "€ é"),
        # 0x81 is nothing in Windows' Latin-1.
        (b"\xe9\x81", "latin-1", "é\x81"),
        (b"", "utf-8-sig", ""),
        # A character that is cut off at the end of the file is none of UTF-8.
        (b"a\xc3", "cp1252", "aÃ"),
    ],
)
def test_the_content_says_the_encoding(content: bytes, encoding: str, text: str) -> None:
    assert encoding_of([content]) == encoding
    assert decoded(content) == text


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("", ","),
        ("code\nA\n", ","),
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2\n2,5;3\n", ";"),
        ("a\tb, c\n1\t2\n", "\t"),
        ('a,"b;c"\n1,"x;y"\n', ","),
    ],
)
def test_what_cuts_lines_evenly_sets_cells_apart(text: str, delimiter: str) -> None:
    assert delimiter_of(text) == delimiter
