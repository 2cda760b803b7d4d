"""A served report may do what the report itself allows, and what keeps it fresh, and no more."""

from __future__ import annotations

import base64
import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from streetgauge.view.live_page import live_page, watched

HASH = "'sha256-" + "A" * 43 + "='"


def page(policy: str | None, body: str = "<p>Report</p>") -> bytes:
    said = (policy or "").replace("'", "&#39;")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{said}">\n'
    return f"<html><head>{meta if policy else ''}</head><body>{body}</body></html>".encode()


def directives(policy: str) -> dict[str, list[str]]:
    return {name: rest for name, *rest in (each.split() for each in policy.split("; "))}


def hashes(html: bytes, tag: str) -> list[str]:
    inner = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>".encode(), html, re.S)
    return ["'sha256-" + base64.b64encode(hashlib.sha256(i).digest()).decode() + "'" for i in inner]


def test_the_policy_of_the_page_moves_into_the_header() -> None:
    said = f"default-src 'none'; script-src {HASH}; style-src {HASH}; img-src data:"
    html, policy = watched(page(said), "1-2")
    assert b"Content-Security-Policy" not in html
    allowed = directives(policy)
    assert allowed["script-src"] == [HASH, *hashes(html, "script")]
    assert allowed["style-src"] == [HASH]
    assert allowed["img-src"] == ["data:"]
    assert allowed["connect-src"] == ["'self'"]
    assert allowed["default-src"] == allowed["frame-ancestors"] == ["'none'"]


def test_what_a_page_allows_itself_beyond_its_own_content_is_not_allowed() -> None:
    said = (
        "default-src *; script-src 'unsafe-inline' 'unsafe-eval' https://evil.example * blob:; "
        "img-src * data: https:; connect-src *; frame-ancestors *; style-src 'unsafe-inline'; "
        "form-action *; object-src *; script-src-elem *"
    )
    html, policy = watched(page(said), "1-2")
    allowed = directives(policy)
    assert allowed["script-src"] == hashes(html, "script")
    assert allowed["img-src"] == ["data:"]
    assert allowed["style-src"] == ["'unsafe-inline'"]
    assert "*" not in policy
    assert "http" not in policy


def test_a_page_without_a_policy_runs_no_script_of_its_own() -> None:
    html, policy = watched(page(None, "<script>alert(1)</script>"), "1-2")
    first, second = hashes(html, "script")
    assert first not in policy
    assert directives(policy)["script-src"] == [second]


def test_the_script_comes_last_and_knows_the_version() -> None:
    html, _ = watched(page(None, "<p>not </body> this one</p>"), '"><img>')
    assert html.endswith(b"</script>\n</body></html>")
    assert b'data-version="&quot;&gt;&lt;img&gt;"' in html
    assert watched(b"no page at all", "1")[0].startswith(b"no page at all<script")


@given(st.text(alphabet="default-src*script 'nonunsafe-inline;:/,&#39", max_size=200))
def test_no_policy_of_a_page_opens_the_header(said: str) -> None:
    _, policy = watched(page(said), "1-2")
    assert "\n" not in policy
    allowed = directives(policy)
    assert allowed["default-src"] == ["'none'"]
    assert len(allowed["script-src"]) == 1


def test_the_live_page_allows_only_its_own_script_and_style() -> None:
    html, policy = live_page()
    allowed = directives(policy)
    assert allowed["script-src"] == hashes(html, "script")
    assert allowed["style-src"] == hashes(html, "style")
    assert b"/* script */" not in html
    assert b"innerHTML" not in html
