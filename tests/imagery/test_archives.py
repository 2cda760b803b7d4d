"""Archives are read in place, as streams, and nothing in them is trusted."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.imagery import ImageError, ImageSource, find_views, raw_images
from streetgauge.imagery import archives as archives_module
from streetgauge.imagery.archives import Archive, Listing, list_archive
from streetgauge.settings import ImagerySettings

MODES = {"p.tar": "w", "p.tgz": "w:gz", "p.tar.bz2": "w:bz2", "p.tar.xz": "w:xz"}
ZIPS = {"p.zip": zipfile.ZIP_STORED, "q.zip": zipfile.ZIP_DEFLATED}


def member(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, MODES.get(path.name, "w")) as tar:
        for name, content in files:
            tar.addfile(member(name, len(content)), io.BytesIO(content))
    return path


def write_zip(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", ZIPS.get(path.name, zipfile.ZIP_STORED)) as packed:
        for name, content in files:
            packed.writestr(name, content)
    return path


def write(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    return write_zip(path, files) if path.suffix == ".zip" else write_tar(path, files)


# Sizes around a tar's blocks of 512 bytes.
FILES = [
    (f"{i}_{view}.png", f"{i}{view}".encode() * (170 * i + 1)) for i in range(9) for view in "ba"
]


@pytest.mark.parametrize("name", [*MODES, *ZIPS])
def test_members_come_back_as_they_were_in_any_order(tmp_path: Path, name: str) -> None:
    path = str(write(tmp_path / name, FILES))
    assert list_archive(path).members == tuple(member for member, _ in FILES)
    contents = dict(FILES)
    for order in (
        list(contents),
        sorted(contents),
        sorted(contents, reverse=True),
        [*contents] * 2,
    ):
        got = list(raw_images(ImageSource(path, name) for name in order))
        assert got == [contents[name] for name in order]


def test_a_tar_is_read_once_from_front_to_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "1.tgz", FILES)
    settings = ImagerySettings(
        folder=tmp_path, pattern="*.tgz/{location_id}_{view}.png", views=("a", "b")
    )
    views, skips = find_views(settings, map(str, range(9)))
    assert skips.empty
    assert views["member"].tolist() == [name for name, _ in FILES]
    opened = []
    own = archives_module._open
    monkeypatch.setattr(archives_module, "_open", lambda path: opened.append(path) or own(path))
    rows = [ImageSource(*row) for row in views[["path", "member"]].itertuples(index=False)]
    assert list(raw_images(rows)) == [content for _, content in FILES]
    assert len(opened) <= 3  # its first bytes tell zip from tar, then its compression; then once


def test_what_is_no_plain_image_is_listed_with_its_reason(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "1.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("/etc/passwd", "../X_a.png", "x/../../X_b.png", "./X_a.png", "X_a.png"):
            tar.addfile(member(name, 1), io.BytesIO(b"1"))
        tar.addfile(member("X_b.png", 0, tarfile.SYMTYPE, "/etc/passwd"))
        tar.addfile(member("Y_a.png", 0, tarfile.LNKTYPE, "X_a.png"))
        tar.addfile(member("Y_b.png", 0, tarfile.CHRTYPE))
        tar.addfile(member("folder", 0, tarfile.DIRTYPE))
        tar.addfile(member("inner.tgz", 1), io.BytesIO(b"1"))
        tar.addfile(member("Z\udcff_a.png", 1), io.BytesIO(b"1"))
        tar.addfile(member("Z\n_a.png", 1), io.BytesIO(b"1"))
    listing = list_archive(str(tmp_path / "1.tar"))
    assert listing.members == ("X_a.png",)
    reported = "\n".join(listing.skipped)
    for reason in (
        "3 of its members have names that leave the archive, e.g. '/etc/passwd'",
        "3 of its members are links, devices or sparse, not plain files, e.g. 'X_b.png'",
        "1 of its members are archives, which are not opened, e.g. 'inner.tgz'",
        r"1 of its members have names that are not UTF-8, e.g. 'Z\udcff_a.png'",
        r"1 of its members have names with control characters, e.g. 'Z\n_a.png'",
        "1 of its members occur twice, of which the first is read, e.g. 'X_a.png'",
    ):
        assert f"archive 1.tar: {reason}" in reported
    assert len(listing.skipped) == 6
    # And so it is reported to the user, next to the views that are there.
    settings = ImagerySettings(
        folder=tmp_path, pattern="1.tar/{location_id}_{view}.png", views=("a",), require="any"
    )
    views, skips = find_views(settings, ["X", "Y"])
    assert views["member"].tolist() == ["X_a.png"]
    assert set(listing.skipped) <= set(skips["reason"])


def test_a_zip_s_links_secrets_and_climbers_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "1.zip"
    with zipfile.ZipFile(path, "w") as packed:
        link = zipfile.ZipInfo("X_b.png")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
        packed.writestr("../X_a.png", b"1")
        packed.writestr("more.zip", b"1")
        packed.writestr("X_a.png", b"good")
    content = bytearray(path.read_bytes())
    listing = list_archive(str(path))
    assert listing.members == ("X_a.png",)
    assert len(listing.skipped) == 3
    # The bit that says "encrypted", of the last member, in both of its headers.
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    assert list_archive(str(path)).members == ()
    assert "are encrypted, e.g. 'X_a.png'" in "\n".join(list_archive(str(path)).skipped)


@pytest.mark.parametrize("name", ["p.tar", "p.tgz", "p.tar.bz2", "p.tar.xz", "p.zip"])
def test_an_archive_that_is_cut_off_is_reported_wherever_it_is_cut(
    tmp_path: Path, name: str
) -> None:
    whole = write(tmp_path / name, FILES).read_bytes()
    contents = dict(FILES)
    end = len(whole.rstrip(b"\0")) if name == "p.tar" else len(whole) - 30  # tar: its end mark
    for cut in range(0, end, 97):
        path = tmp_path / f"{cut}-{name}"
        path.write_bytes(whole[:cut])
        listing = list_archive(str(path))
        assert "damaged" in listing.skipped[-1], cut
        # What is listed comes back whole, or with a reason: the last one may be cut itself.
        for member_name in listing.members:
            (got,) = raw_images([ImageSource(str(path), member_name)])
            assert got == contents[member_name] or isinstance(got, ImageError)


@cache
def packed_tar(name: str, size: int) -> tuple[list[tuple[str, bytes]], bytes]:
    """Files of random bytes, as a camera's: nothing to pack; and the archive of them."""
    rng = np.random.default_rng(1)
    files = [(f"{i}_a.jpg", rng.bytes(size)) for i in range(32)]
    with TemporaryDirectory() as folder:
        return files, write_tar(Path(folder) / name, files).read_bytes()


@pytest.mark.parametrize("name", ["p.tgz", "p.tar.bz2", "p.tar.xz"])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_all_that_stands_whole_before_the_cut_of_a_packed_tar_is_read(
    tmp_path: Path, name: str, share: float
) -> None:
    size = 60_000 if name != "p.tar.bz2" else 400_000  # bzip2 unpacks whole blocks of 900 kB
    files, whole = packed_tar(name, size)
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    listing = list_archive(str(tmp_path / name))
    got = dict(
        zip(
            listing.members,
            raw_images(ImageSource(str(tmp_path / name), one) for one in listing.members),
            strict=True,
        )
    )
    read = [one for one, content in files if got.get(one) == content]
    unpacked = share * len(whole) - (1_000_000 if name == "p.tar.bz2" else 100_000)
    assert len(read) >= unpacked // (size + 1024)  # but for the one that is cut, and its packing
    assert read == [one for one, _ in files[: len(read)]]
    assert len(listing.members) - len(read) <= 1
    assert "damaged" in listing.skipped[-1]


def listed_in_little_memory(path: Path) -> Listing:
    tracemalloc.start()
    try:
        listing = list_archive(str(path))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    return listing


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_a_name_that_would_fill_the_memory_is_not_read(tmp_path: Path, kind: bytes) -> None:
    size = 24 << 20
    path = tmp_path / "p.tgz"
    with gzip.open(path, "wb", 1) as packed:
        for name in ("X_a.png", "X_b.png"):
            packed.write(member(name, 1).tobuf(tarfile.GNU_FORMAT) + b"1".ljust(512, b"\0"))
            packed.write(member("long", size, kind).tobuf(tarfile.GNU_FORMAT))
            for _ in range(size >> 20):
                packed.write(b"n" * (1 << 20))
    listing = listed_in_little_memory(path)
    assert listing.members == ("X_a.png",)
    assert "it is damaged: a name or a comment of 25,165,824 bytes" in listing.skipped[0]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(tmp_path: Path, form: int) -> None:
    long = "folder/" * 60 + "X_ä.png"
    with tarfile.open(tmp_path / "p.tar", "w", format=form) as tar:
        tar.addfile(member(long, 1), io.BytesIO(b"1"))
    assert list_archive(str(tmp_path / "p.tar")).members == (long,)


def test_the_map_of_a_sparse_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "p.tgz"
    more = (b"00000000001\0" * 42).ljust(504, b"\0") + b"\1" + bytes(7)
    header = bytearray(member("S_a.png", 512, tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # its map goes on ...
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
    with gzip.open(path, "wb", 1) as packed:
        packed.write(bytes(header))
        for _ in range(40):
            packed.write(more * 1000)  # ... and on
        packed.write(bytes(512) + bytes(512))  # its end, and the file
        packed.write(member("X_a.png", 1).tobuf(tarfile.GNU_FORMAT) + b"1".ljust(512, b"\0"))
        packed.write(bytes(1024))
    listing = listed_in_little_memory(path)
    assert listing.members == ("X_a.png",)
    assert "1 of its members are links, devices or sparse" in listing.skipped[0]


def test_damage_in_the_middle_of_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    content = bytearray(write_tar(tmp_path / "p.tar", FILES).read_bytes())
    third = content.index(b"1_b.png\0")
    content[third + 150] ^= 0x55  # in its checksum
    (tmp_path / "q.tar").write_bytes(content)
    listing = list_archive(str(tmp_path / "q.tar"))
    assert listing.members == ("0_b.png", "0_a.png")
    assert "damaged" in listing.skipped[0]


def test_gzip_of_several_parts_is_read_to_its_end(tmp_path: Path) -> None:
    raw = write_tar(tmp_path / "p.tar", FILES).read_bytes()
    half = len(raw) // 2
    (tmp_path / "p.tgz").write_bytes(gzip.compress(raw[:half]) + gzip.compress(raw[half:]))
    assert list_archive(str(tmp_path / "p.tgz")) == list_archive(str(tmp_path / "p.tar"))


def test_a_member_that_would_fill_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives_module, "MAX_BYTES", 1 << 20)
    files = [("X_a.png", bytes(2 << 20)), ("X_b.png", b"1")]
    for path in (write_tar(tmp_path / "p.tgz", files), write_zip(tmp_path / "q.zip", files)):
        listing = list_archive(str(path))
        assert listing.members == ("X_b.png",)
        assert "larger than 1 MiB" in listing.skipped[0]
        (got,) = raw_images([ImageSource(str(path), "X_a.png")])
        assert isinstance(got, ImageError)


def test_a_member_that_is_not_there_is_a_reason_and_costs_one_pass(tmp_path: Path) -> None:
    path = str(write_tar(tmp_path / "p.tgz", FILES))
    rows = [
        ImageSource(path, name) for name in ("3_a.png", "no.png", "4_a.png", "no.png", "1_b.png")
    ]
    got = list(raw_images(rows))
    assert [isinstance(one, ImageError) for one in got] == [False, True, False, True, False]
    assert str(got[1]) == "the archive has no such file"


def test_the_same_view_in_two_archives_is_refused(tmp_path: Path) -> None:
    for name in ("1.tgz", "2.tgz"):
        write_tar(tmp_path / name, [("X_a.png", b"1")])
    settings = ImagerySettings(folder=tmp_path, pattern="**/{location_id}_{view}.png", views=("a",))
    with pytest.raises(InputError, match=r"two images: 1\.tgz/X_a\.png and 2\.tgz/X_a\.png"):
        find_views(settings, ["X"])


def test_the_folder_may_be_an_archive_itself(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", [("x/X_a.png", b"1"), ("x/Y_a.png", b"2")])
    settings = ImagerySettings(folder=path, pattern="x/{location_id}_{view}", views=("a",))
    views, _ = find_views(settings, ["X", "Y"])
    assert views["path"].tolist() == [str(path)] * 2
    assert views["member"].tolist() == ["x/X_a.png", "x/Y_a.png"]


def test_a_manifest_leads_into_archives(tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tgz", [("n/one.png", b"1"), ("n/two.png", b"2")])
    file = tmp_path / "views.csv"
    file.write_text(
        "location_id,view,path\nX,b,1.tgz/n/one.png\nX,a,1.tgz/n/two.png\nX,c,1.tgz/n/no.png\n"
    )
    settings = ImagerySettings(folder=tmp_path, manifest=file, views=("a", "b", "c"), require="any")
    views, skips = find_views(settings, ["X"])
    assert views["member"].tolist() == ["n/one.png", "n/two.png"]
    assert views["view"].tolist() == ["b", "a"]
    assert skips["view"].tolist() == ["c"]


def test_a_pattern_that_fits_nothing_shows_what_is_in_the_archive(tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tgz", FILES)
    with pytest.raises(InputError, match=r"1\.tgz/0_b\.png, 1\.tgz/0_a\.png, 1\.tgz/1_b\.png\."):
        find_views(ImagerySettings(folder=tmp_path), ["0"])


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 99, b"PK\x03\x04broken" * 50])
def test_a_file_that_is_only_called_an_archive_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1.zip").write_bytes(content)
    (tmp_path / "2.tgz").write_bytes(content)
    for name in ("1.zip", "2.tgz"):
        listing = list_archive(str(tmp_path / name))
        assert listing.members == ()
        assert f"archive {name}: it is damaged" in listing.skipped[0]


names = st.text(
    st.one_of(st.sampled_from("./\\ \n\0-_aX"), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=40,
)


@given(st.lists(names, min_size=1, max_size=6, unique=True), st.booleans())
def test_whatever_members_are_called_what_is_listed_is_safe_and_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, called: list[str], zipped: bool
) -> None:
    path = tmp_path_factory.mktemp("names") / ("p.zip" if zipped else "p.tar")
    try:
        write(path, [(name, name.encode()) for name in called])
    except (ValueError, IndexError):  # the writer itself refuses such a name
        return
    listing = list_archive(str(path))
    assert len(set(listing.members)) == len(listing.members)
    for name in listing.members:
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert name.isprintable()
    with Archive(str(path)) as archive:
        for name in listing.members:
            assert isinstance(archive.read(name), bytes)


def test_a_link_in_a_zip_never_stands_for_the_file_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as packed:
        link = zipfile.ZipInfo("X_a.png")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/hostname")
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("X_a.png", b"the file")
    assert list_archive(str(path)).members == ("X_a.png",)
    with Archive(str(path)) as archive:
        assert archive.read("X_a.png") == b"the file"
