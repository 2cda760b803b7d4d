"""A few columns of a table too large to be read whole, a block at a time."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetgauge.errors import InputError
from streetgauge.tables._bytes import GZIP, PARQUET, decoded, opened, starts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_header", "scan_columns"]


def read_header(path: Path) -> list[str]:
    """Read the column names of a table for `scan_columns`, as they stand in the file."""
    if starts(path, PARQUET):
        import pyarrow.parquet as pq

        return list(pq.read_schema(path).names)
    with opened(path) as handle:
        start = handle.read(1 << 16)
    # Only the first line counts: the block may end inside a character.
    first = next((line for line in start.splitlines() if line.strip()), b"")
    line = decoded(first)
    if not line or "\0" in line:
        raise InputError(path, "there is no header", "give a CSV or Parquet file with column names")
    return next(csv.reader([line]))


def scan_columns(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Run through some text columns of a large CSV (also gzipped) or Parquet file.

    Only these columns are ever converted, and only one block of the file is held at a time.

    Parameters
    ----------
    path : Path
        The table, with its header in the first row.
    columns : sequence of str
        Names as `read_header` gives them.

    Yields
    ------
    pyarrow.RecordBatch
        The columns as text; an empty cell is "".

    Raises
    ------
    InputError
        If a row has more or fewer cells than the header.
    """
    if starts(path, PARQUET):
        yield from _scan_parquet(path, columns)
        return
    import pyarrow as pa
    import pyarrow.csv as pacsv

    texts = dict.fromkeys(columns, pa.string())
    try:
        yield from pacsv.open_csv(
            _stream(path),
            read_options=pacsv.ReadOptions(block_size=1 << 22, encoding=_encoding(path)),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns), column_types=texts, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("CSV parse error: ")[:200]
        raise InputError(path, f"a row is broken: {reason}", "fetch the file again") from None
    except pa.ArrowKeyError:
        raise InputError(
            path, "its text is in an encoding that cannot be read in blocks", "save it as UTF-8"
        ) from None
    except (OSError, EOFError) as error:
        raise InputError(path, f"it cannot be unpacked ({error})", "fetch it again") from None


def _scan_parquet(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(columns=list(columns)):
        texts = [pc.fill_null(batch.column(name).cast(pa.string()), "") for name in columns]
        yield pa.RecordBatch.from_arrays(texts, names=list(columns))


def _encoding(path: Path) -> str:
    """Look through the whole file, a block at a time: the only accent may stand at its end."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with opened(path) as handle:
        try:
            while block := handle.read(1 << 22):
                if not block.isascii() or decoder.getstate()[0]:
                    decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


def _stream(path: Path) -> Any:
    import pyarrow as pa

    plain = pa.OSFile(str(path))
    return pa.CompressedInputStream(plain, "gzip") if starts(path, GZIP) else plain
