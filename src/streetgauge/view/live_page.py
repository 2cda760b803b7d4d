"""Pages as they are served: their policy in the header, and a script that renews them."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from importlib import resources

# Of what is not a streetgauge page: a drawing shows, and runs nothing.
FILE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
)
_END = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_META = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"]*)">\n?')
_HEAD = 16_384  # bytes in which a page states its policy
# What a page may allow itself: only what is in it.
_ALLOWED = {
    "script-src": re.compile(r"'sha(256|384|512)-[A-Za-z0-9+/=]+'"),
    "style-src": re.compile(r"'sha(256|384|512)-[A-Za-z0-9+/=]+'|'unsafe-inline'"),
    "img-src": re.compile(r"data:|blob:"),
    "font-src": re.compile(r"data:"),
    "worker-src": re.compile(r"blob:"),
}


@cache
def live_page() -> tuple[bytes, str]:
    """Give the page that shows a run, and its policy."""
    script, style = _asset("live.js"), _asset("live.css")
    text = _asset("live.html").replace("/* style */", style).replace("/* script */", script)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"connect-src 'self'; img-src data:; {_END}"
    )
    return text.encode(), policy


def watched(page: bytes, version: str) -> tuple[bytes, str]:
    """Give a report as it is served, and its policy.

    Parameters
    ----------
    page : bytes
        The file. Its policy moves into the header, where alone it can forbid being framed, and
        there only hashes and embedded data count. A page without a policy may run no script.
    version : str
        Of the file; when another is there, the page loads itself again.
    """
    script = _asset("watch.js")
    found = _META.search(page, 0, _HEAD)
    stated = html.unescape(found[1].decode("utf-8", "replace")) if found else ""
    allowed = (
        _allowed_sources(stated)
        if found
        else {"style-src": ["'unsafe-inline'"], "img-src": ["data:"]}
    )
    allowed.setdefault("script-src", []).append(_hash(script))
    policy = "; ".join(
        ["default-src 'none'"]
        + [" ".join([name, *sources]) for name, sources in allowed.items() if sources]
        + ["connect-src 'self'", _END]
    )
    if found:
        page = page[: found.start()] + page[found.end() :]
    watch = f'<script data-version="{html.escape(version)}">{script}</script>\n'.encode()
    end = page.rfind(b"</body>")
    end = len(page) if end < 0 else end
    return page[:end] + watch + page[end:], policy


def _allowed_sources(policy: str) -> dict[str, list[str]]:
    """Read the sources that a page allows itself, of those that it may."""
    allowed: dict[str, list[str]] = {}
    for directive in policy.split(";"):
        name, *sources = directive.split() or [""]
        if name in _ALLOWED and name not in allowed:
            allowed[name] = [each for each in sources if _ALLOWED[name].fullmatch(each)]
    return allowed


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
