"""A few columns of a table too large to be read whole, a block at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetgauge.errors import InputError, summary
from streetgauge.io.tables.raw import (
    DAMAGED,
    GZIP,
    PARQUET,
    UNPACKING,
    damaged,
    decoded,
    delimiter_of,
    encoding_of,
    is_zip,
    opened,
    starts,
)

if TYPE_CHECKING:
    import pyarrow as pa


def read_header(path: Path, member: str | None = None) -> list[str]:
    """Read the column names of a table for `scan_columns`, as they stand in the file."""
    if starts(path, PARQUET):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(path).names)
        except (pa.ArrowException, *DAMAGED) as error:
            raise damaged(path, error) from None
    text = _start(path, member)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first or "\0" in first:
        raise InputError(path, "there is no header", "give a CSV or Parquet file with column names")
    return next(csv.reader([first], delimiter=delimiter_of(text)))


def scan_columns(
    path: Path, columns: Sequence[str], *, member: str | None = None, codes: bool = False
) -> Iterator[pa.RecordBatch]:
    """Run through some text columns of a large CSV (also gzipped or zipped) or Parquet file.

    Only these columns are ever converted, and only one block of the file is held at a time.

    Parameters
    ----------
    path : Path
        The table, with its header in the first row.
    columns : sequence of str
        Names as `read_header` gives them.
    member : str, optional
        Which file of a zip, as `zipped_tables` names it; it is not unpacked to disk.
    codes : bool
        The columns hold codes and numbers: no accents, no line ends within a cell. The file is
        then read once, and not a first time to find its encoding.

    Yields
    ------
    pyarrow.RecordBatch
        The columns as text; an empty cell is "".

    Raises
    ------
    InputError
        If a row has more or fewer cells than the header.
    """
    if member is None and starts(path, PARQUET):
        yield from _scan_parquet(path, columns)
        return
    import pyarrow as pa
    import pyarrow.csv as pacsv

    title = f"{path}: {member}" if member else path
    texts = dict.fromkeys(columns, pa.string())
    try:
        delimiter = delimiter_of(_start(path, member))
        encoding = "utf-8" if codes else _encoding(path, member)
        yield from pacsv.open_csv(
            _stream(path, member),
            read_options=pacsv.ReadOptions(block_size=1 << 20, encoding=encoding),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=not codes),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns), column_types=texts, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        reason = summary(str(error).removeprefix("CSV parse error: "))
        raise InputError(title, f"a row is broken: {reason}", "fetch the file again") from None
    except pa.ArrowKeyError:
        raise InputError(
            title, "its text is in an encoding that cannot be read in blocks", "save it as UTF-8"
        ) from None
    except UNPACKING as error:
        raise InputError(title, f"it cannot be unpacked ({error})", "fetch it again") from None


def _scan_parquet(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(columns=list(columns)):
            texts = [pc.fill_null(batch.column(name).cast(pa.string()), "") for name in columns]
            block = pa.RecordBatch.from_arrays(texts, names=list(columns))
            block.validate(full=True)  # texts that are not UTF-8
            yield block
    except (pa.ArrowException, *DAMAGED) as error:
        raise damaged(path, error) from None


def _start(path: Path, member: str | None) -> str:
    """Text of a file's first lines."""
    try:
        with opened(path, member) as handle:
            block = handle.read(1 << 16)
    except UNPACKING as error:
        raise InputError(path, f"it cannot be unpacked ({error})", "fetch it again") from None
    if len(block) == 1 << 16 and not block.startswith((b"\xff\xfe", b"\xfe\xff")):
        # The block may end inside a character: whole lines are whole.
        block = block[: max(block.rfind(b"\n"), block.rfind(b"\r")) + 1] or block
    return decoded(block)


def _encoding(path: Path, member: str | None) -> str:
    """Find the encoding in the whole file, a block at a time."""
    with opened(path, member) as handle:
        return encoding_of(iter(lambda: handle.read(1 << 22), b""))


def _stream(path: Path, member: str | None) -> Any:
    import pyarrow as pa

    if starts(path, GZIP):
        return pa.CompressedInputStream(pa.OSFile(str(path)), "gzip")
    if is_zip(path):
        return pa.PythonFile(opened(path, member), mode="r")
    return pa.OSFile(str(path))
