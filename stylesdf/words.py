"""Text from outside on its way to where markup is read: it stays what it says."""

from __future__ import annotations

import html
import re

# What Markdown reads as markup within a line, HTML and formulas included, and what it makes links of by itself.
MARKDOWN = re.compile(r"[\\`*\[\]<>|~$&@]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=www)\.", re.IGNORECASE)


def one_line(text: object) -> str:
    """Return text on one line, with spaces for what cannot be printed: control characters, changes of direction."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())


def in_html(text: object) -> str:
    """Return text as HTML that shows it."""
    return html.escape(one_line(text), quote=False)


def in_markdown(text: object) -> str:
    """Return text as a part of a line of Markdown that shows it."""
    return MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", one_line(text))
