"""Rows of files as people have them, with the line that each begins at."""

from pathlib import Path

import pytest

from deploy.importer.rows import RowFile
from deploy.local.errors import LocalError


def file(tmp_path: Path, content: bytes, name: str = "orders.csv") -> RowFile:
    path = tmp_path / name
    path.write_bytes(content)
    return RowFile(path)


def test_csv_with_quotes_blank_lines_and_line_breaks_in_cells(tmp_path: Path) -> None:
    rows = file(tmp_path, b'\xef\xbb\xbfid,text\r\n1,"a, b"\r\n\r\n2,"two\r\nlines"\r\n3,"say ""hi"""\r\n')
    assert [(line.number, line.row, line.fault) for line in rows.lines()] == [
        (2, {"id": "1", "text": "a, b"}, ""),
        (4, {"id": "2", "text": "two\r\nlines"}, ""),
        (6, {"id": "3", "text": 'say "hi"'}, ""),
    ]
    assert [line.number for line in rows.lines()] == [2, 4, 6]  # again, from the beginning


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_that_of_the_header(tmp_path: Path, delimiter: str) -> None:
    (line,) = file(tmp_path, f"a{delimiter}b\n1{delimiter}2\n".encode()).lines()
    assert line.row == {"a": "1", "b": "2"}


def test_a_row_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    rows = list(file(tmp_path, b'a,b\n1,2,3\nM\xfcller,2\n"x"y,2\n4,5\n').lines())
    assert [(line.number, bool(line.fault)) for line in rows] == [(2, True), (3, True), (4, True), (5, False)]
    assert "3 cells" in rows[0].fault
    assert "UTF-8" in rows[1].fault
    assert rows[0].written == "1,2,3"
    assert rows[3].row == {"a": "4", "b": "5"}


def test_ndjson(tmp_path: Path) -> None:
    rows = list(file(tmp_path, b'{"a": 1}\n\n[1]\n{"a":\n{"a": 2}', "events.ndjson").lines())
    assert [(line.number, line.row) for line in rows] == [(1, {"a": 1}), (3, {}), (4, {}), (5, {"a": 2})]
    assert "no object" in rows[1].fault
    assert "not JSON" in rows[2].fault


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "no header"), (b"\x1f\x8b1", "unpack"), (b"\xff\xfea\0", "UTF-8"), (b"a,b,a\n", "two columns named 'a'")],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(LocalError, match=says):
        file(tmp_path, content)
    with pytest.raises(LocalError, match="cannot be read"):
        RowFile(tmp_path / "nothing.csv")
