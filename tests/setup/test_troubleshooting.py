"""The troubleshooting page quotes the messages word for word."""

import pytest
from helpers import broken_brokers, broken_files
from helpers.pages import table

WORDS = [
    *(kind.words for kind in broken_files.KINDS.values()),
    *(kind.words for kind in broken_brokers.KINDS.values()),
]


@pytest.mark.parametrize("quoted", [row[0] for row in table("troubleshooting.rst", "messages")])
def test_what_the_page_quotes_is_a_part_of_a_message(quoted: str) -> None:
    assert any(quoted in words for words in WORDS)
