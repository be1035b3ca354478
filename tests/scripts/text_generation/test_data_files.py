from pathlib import Path

import pytest

from scripts.text_generation.data_files import DataFileError, read_list, read_table


def write(folder: Path, content: str) -> Path:
    path = folder / "file.txt"
    path.write_text(content, encoding="utf-8")
    return path


def test_a_list_has_one_entry_per_line(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff# Fruit\nelma\n\n  armut/armud \r\n# the last\nnar")
    assert [(entry.text, entry.line) for entry in read_list(path)] == [("elma", 2), ("armut/armud", 4), ("nar", 6)]


def test_a_table_has_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "# Persons\nperson,suffix\n1s,(I)m\n\n3s,\n")
    assert [row.values for row in read_table(path, ("person", "suffix"))] == [
        {"person": "1s", "suffix": "(I)m"},
        {"person": "3s", "suffix": ""},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("elma\narmut\nelma\n", ":3: 'elma' is already in line 1"),
        ("# nothing\n\n", " has no entries"),
    ],
)
def test_a_malformed_list_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataFileError) as caught:
        read_list(path)
    assert str(caught.value) == f"{path}{message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("person\n1s\n", ":1: the columns must be person,suffix, not person"),
        ("person,suffix\n", ":1: the table has no rows"),
        ("person,suffix\n1s,m\n# more\n2s\n", ":4: the row has 1 fields, not 2"),
        ("person,suffix\n1s,m,n\n", ":2: the row has 3 fields, not 2"),
        ("person,suffix\n1s,m\n1s,n\n", ":3: '1s' is already in line 2"),
        ('person,suffix\n1s,"m\n', ":2: unexpected end of data"),
    ],
)
def test_a_malformed_table_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataFileError) as caught:
        read_table(path, ("person", "suffix"))
    assert str(caught.value) == f"{path}{message}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"none\.txt is missing$"):
        read_list(tmp_path / "none.txt")
    with pytest.raises(DataFileError, match=r"cannot be read: Is a directory$"):
        read_list(tmp_path)
    path = tmp_path / "latin5.txt"
    path.write_bytes("elma\nağaç\n".encode("iso8859-9"))
    with pytest.raises(DataFileError, match=r"latin5\.txt:2: this is not UTF-8$"):
        read_list(path)


def test_fields_hold_flags_and_weights(tmp_path: Path) -> None:
    path = write(tmp_path, "tense,weight,question\npast,28,yes\nwas,0,no\nwould,2.5,maybe\n")
    past, was, would = read_table(path, ("tense", "weight", "question"))
    assert (past.weight("weight"), past.flag("question"), was.flag("question")) == (28, True, False)
    for row, value in ((was, "0"), (would, "2.5")):
        with pytest.raises(DataFileError, match=rf":{row.entry.line}: weight must be .* not '{value}'$"):
            row.weight("weight")
    with pytest.raises(DataFileError, match=r":4: question must be yes or no, not 'maybe'$"):
        would.flag("question")
