"""Tables: nothing folded where a program reads, everything visible where the terminal is narrow."""

from __future__ import annotations

import pytest

from fleetmend_cli.output import Column, print_json, print_pairs, print_table

COLUMNS = (Column("HOST"), Column("N", right=True), Column("WHAT", fixed=False))
LONG = "the quick brown fox jumps over the lazy dog and then some"


@pytest.fixture
def printed(capsys, monkeypatch):
    def run(print_it, *arguments, columns: str = "") -> str:
        monkeypatch.setenv("COLUMNS", columns)
        print_it(*arguments)
        return capsys.readouterr().out

    return run


def test_a_pipe_gets_one_line_a_row_however_long(printed):
    out = printed(print_table, COLUMNS, [("web-1", "7", LONG * 10)])
    assert out == f"HOST   N  WHAT\nweb-1  7  {LONG * 10}\n"


def test_a_narrow_terminal_folds_words_and_keeps_what_is_copied_whole(printed):
    out = printed(print_table, COLUMNS, [("web-1.example.org", "7", LONG)], columns="50")
    assert max(map(len, out.splitlines())) <= 50
    assert "web-1.example.org" in out
    assert " ".join("".join(line[22:] + " " for line in out.splitlines()[1:]).split()) == LONG


def test_wide_and_combining_characters_keep_columns_straight(printed):
    rows = [("東京", "1", "x"), ("e\u0301", "22", "y"), ("plain", "3", "z")]
    assert printed(print_table, COLUMNS, rows) == "HOST    N  WHAT\n東京    1  x\ne\u0301      22  y\nplain   3  z\n"


def test_pairs_keep_the_lines_of_a_value_under_each_other(printed):
    assert printed(print_pairs, [("Rules", "one\ntwo"), ("X", "")]) == "Rules  one\n       two\nX\n"


def test_an_empty_table_has_its_heading_and_no_pairs_print_nothing(printed):
    assert printed(print_table, COLUMNS, []) == "HOST  N  WHAT\n"
    assert printed(print_pairs, []) == ""


def test_cells_and_json_are_inert(printed):
    assert printed(print_table, COLUMNS, [("a\nb\tc", "\x1b[31m", "\u202e")]) == (
        "HOST            N  WHAT\na\\nb\\tc  \\x1b[31m  \\u202e\n"
    )
    assert printed(print_json, {"a": "\x1b\x9b\u2028<é>"}) == '{\n  "a": "\\u001b\\u009b\\u2028<é>"\n}\n'
