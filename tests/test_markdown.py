"""Proves that Markdown shows a text as it stands, and a table as one."""

from paramshare.markdown import plain, table


def test_plain_text_is_one_line_without_any_meaning() -> None:
    assert plain("a | b\n__init__ [x](y) <z> `c` *d* ~e~") == r"a \| b \_\_init\_\_ \[x\](y) \<z\> \`c\` \*d\* \~e\~"


def test_a_table_has_its_numbers_flush_right() -> None:
    assert table(("name", "n"), [("a", "1"), ("b", "2")]).splitlines() == [
        "| name | n |",
        "| :-- | --: |",
        "| a | 1 |",
        "| b | 2 |",
    ]
