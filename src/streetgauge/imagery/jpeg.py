"""JPEG files with junk between the segments of their header, whose pixels are whole.

Cameras and editors leave such files behind: readers stumble over the header, and what libjpeg warns
of it sounds like damage. Rebuilt from what decoding needs (ITU-T T.81, annex B), the header is
clean, and whether the pixels are whole shows when they are decoded. No byte of them is touched.
"""

from __future__ import annotations

from collections.abc import Iterator

SOI, SOS, DHT, DQT, DRI, DAC, COM = 0xD8, 0xDA, 0xC4, 0xDB, 0xDD, 0xCC, 0xFE
SOF = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, DAC}
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
NOTES = frozenset(range(0xE0, 0xF0)) | {COM}  # what decoding does not need
TABLES = SOF | {SOS, DHT, DQT, DRI, DAC}
_SOI = bytes((0xFF, SOI))


def without_junk(raw: bytes) -> Iterator[bytes]:
    """Give a JPEG with its header rebuilt: once by its segments' lengths, once in doubt of them.

    A segment that ends in the middle of nowhere has junk behind it, or is shorter than it claims.
    Nothing is given of a file that is no JPEG, or whose tables are damaged themselves.
    """
    for trusting in (True, False):
        if (rebuilt := _rebuilt(raw, trusting)) is not None:
            yield rebuilt


def _rebuilt(raw: bytes, trusting: bool) -> bytes | None:
    if not raw.startswith(_SOI):
        return None
    parts, at = [_SOI], 2
    while 0 <= (at := raw.find(b"\xff", at)) < len(raw) - 4:
        marker, end = raw[at + 1], at + 2 + int.from_bytes(raw[at + 2 : at + 4])
        segment = raw[at:end]
        if marker in NOTES:
            # A thumbnail is a JPEG of its own, whose segments are not to be taken for the image's.
            sealed = marker == APP1 or _SOI in segment
            if trusting or sealed or raw[end : end + 1] == b"\xff":
                parts += [segment] if _is_needed(marker, segment) else []
                at = end
            else:
                at += 2
        elif marker in TABLES:
            if end > len(raw) or not _is_sound(marker, segment):
                return None
            parts.append(segment)
            if marker == SOS:
                return b"".join((*parts, raw[end:]))
            at = end
        else:
            at += 1
    return None


def _is_needed(marker: int, segment: bytes) -> bool:
    """Whether a segment is on how pixels are stored (JFIF, Adobe) or to be seen (Exif, XMP)."""
    if marker == APP14:
        return segment[4:9] == b"Adobe" and len(segment) >= 16
    return marker == APP1 or (marker == APP0 and segment[4:9] == b"JFIF\0" and len(segment) >= 18)


def _is_sound(marker: int, segment: bytes) -> bool:
    """Whether a segment is as long as its content."""
    if marker in (DQT, DHT):
        at = 4
        while at < len(segment):
            if marker == DQT:
                at += 65 if segment[at] < 16 else 129
            else:
                at += 17 + sum(segment[at + 1 : at + 17])
        return at == len(segment)
    if marker in SOF:
        return len(segment) > 9 and len(segment) == 10 + 3 * segment[9]
    if marker == SOS:
        return len(segment) > 4 and len(segment) == 8 + 2 * segment[4]
    return len(segment) == 6 if marker == DRI else len(segment) % 2 == 0
