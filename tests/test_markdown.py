"""Markdown shows a text as it stands, and a table as one."""

from paramshare.markdown import plain, table


def test_plain_text_becomes_one_line_of_escaped_markdown() -> None:
    assert plain("a | b\n__init__ [x](y) <z> `c` *d* ~e~") == r"a \| b \_\_init\_\_ \[x\](y) \<z\> \`c\` \*d\* \~e\~"


def test_numbers_of_a_markdown_table_are_right_aligned() -> None:
    assert table(("name", "n"), [("a", "1"), ("b", "2")]).splitlines() == [
        "| name | n |",
        "| :-- | --: |",
        "| a | 1 |",
        "| b | 2 |",
    ]
