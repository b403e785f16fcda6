"""docs/gpu.md quotes messages; every one must be in the sources, word for word, so that a search finds it."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["core", "model", "streaming", "app"]
QUOTED = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
# Between two pieces of one text: "one " followed by a line break and "two".
BETWEEN_PIECES = re.compile(r'"\s*\n\s*"')


def source_texts(root):
    """Every source with the pieces of its texts joined."""
    paths = (path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in (".cpp", ".h", ".cu"))
    return {path: BETWEEN_PIECES.sub("", path.read_text()) for path in paths}


def quoted_messages(page):
    section = page.partition("## What a message means")[2].partition("\n## ")[0]
    return QUOTED.findall(section)


def missing_messages(page, texts):
    """Those of which no source holds all parts in order. `...` is what varies: {} in a source, or an expression."""
    missing = []
    for message in quoted_messages(page):
        parts = [re.escape(part.strip()) for part in message.split("...") if part.strip()]
        pattern = re.compile(".{0,160}?".join(parts), re.DOTALL)
        if not any(pattern.search(text) for text in texts.values()):
            missing.append(message)
    return missing


def test_every_message_is_in_the_sources():
    page = (ROOT / "docs" / "gpu.md").read_text()
    assert len(quoted_messages(page)) >= 12
    assert missing_messages(page, source_texts(ROOT)) == []


@pytest.mark.parametrize("message, found", [
    ("no driver: install one", True), ("GPU ... has ..., and newer is needed", True), ("GPU ... is there", False),
    ("newer is needed ... GPU", False), ("no driver: install two", False)])
def test_the_search_joins_pieces_and_keeps_order(message, found):
    text = 'fail("no driver: "\n     "install one");\nformat("GPU {} has {}.{}, and "\n  "newer is needed", a, b);'
    page = f"## What a message means\n\n| `{message}` | cause |\n"
    assert (missing_messages(page, {"a.cpp": BETWEEN_PIECES.sub("", text)}) == []) == found
