"""What Slack accepts as a message, after its pages: limits of blocks, and mrkdwn that can do nothing unasked.

Written apart from the code under test. https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from slack_sdk.models.blocks import Block

LIMITS = {"header": 150, "section": 3000, "context": 3000}
ENTITIES = re.compile(r"&(?!(?:amp|lt|gt);)")
LINK = re.compile(r"<https?://[^<>|\s]+\|[^<>|`*_~]+>")


def problems(message: dict[str, Any]) -> list[str]:
    """Everything that Slack would refuse, or that would do something, in a message."""
    found = list(_text(message.get("text"), 4000, "text", markup=False))
    blocks = message.get("blocks", [])
    if not 1 <= len(blocks) <= 50:
        found.append(f"{len(blocks)} blocks")
    if (size := sum(len(str(block)) for block in blocks)) > 20_000:
        found.append(f"blocks of {size} characters")
    for number, block in enumerate(blocks):
        place = f"block {number} ({block.get('type')})"
        found += [f"{place}: {text}" for text in _block(block)]
        parsed = Block.parse(block)
        assert parsed is not None
        try:
            parsed.to_dict()
        except Exception as error:  # slack_sdk's own validation
            found.append(f"{place}: {error}")
    return found


def _block(block: dict[str, Any]) -> Iterator[str]:
    kind = block["type"]
    if kind == "image":
        yield from _text(block.get("alt_text"), 2000, "alt_text", markup=False, escaped=False)
        if set(block) != {"type", "slack_file", "alt_text"} or not block["slack_file"]["id"]:
            yield f"fields {sorted(block)}"
        return
    if kind == "header":
        if block["text"]["type"] != "plain_text":
            yield "a header is plain text"
        yield from _object(block["text"], 150)
    elif kind == "section":
        yield from _object(block["text"], 3000)
    elif kind == "context":
        if not 1 <= len(block["elements"]) <= 10:
            yield f"{len(block['elements'])} elements"
        for element in block["elements"]:
            yield from _object(element, 3000)
    else:
        yield "unknown"


def _object(item: dict[str, Any], most: int) -> Iterator[str]:
    if item["type"] == "plain_text":
        if item.get("emoji") is not False:
            yield "plain text with emoji"
        yield from _text(item["text"], most, "plain text", markup=False, escaped=False)
    elif item["type"] == "mrkdwn":
        if item.get("verbatim") is not True:
            yield "mrkdwn that Slack adds links to"
        yield from _text(item["text"], most, "mrkdwn", markup=True)
    else:
        yield f"type {item['type']}"


def _text(text: Any, most: int, what: str, *, markup: bool, escaped: bool = True) -> Iterator[str]:
    if not isinstance(text, str) or not text:
        yield f"{what}: empty"
        return
    if len(text) > most:
        yield f"{what}: {len(text)} characters"
    for char in text:
        if char != "\n" and (
            unicodedata.category(char) in ("Cc", "Cs") or char in "\u202a\u202b\u202d\u202e\u2066\u2067"
        ):
            yield f"{what}: control character U+{ord(char):04X}"
    if escaped:
        yield from _escaped(text, what, markup=markup)


def _escaped(text: str, what: str, *, markup: bool) -> Iterator[str]:
    """What a text would do where Slack looks for links, mentions and marks."""
    rest = LINK.sub("", text) if markup else text
    if "<" in rest or ">" in rest:
        yield f"{what}: an angle bracket that is not escaped: {rest[:200]!r}"
    if ENTITIES.search(text):
        yield f"{what}: an ampersand that is not escaped"
    if re.search(r"@(?:here|channel|everyone)", rest):
        yield f"{what}: a mention"
    if markup:
        # Balanced code: behind blocks and spans, no backtick is left, and no line break is inside a span.
        without = re.sub(r"```\n[^`]*\n```", "", rest)
        without = re.sub(r"`[^`\n]+`", "", without)
        if "`" in without:
            yield f"{what}: a backtick that opens or closes what it should not: {text[:300]!r}"
        if re.search(r"[_~]", without) or re.sub(r"\*[\w, ]+\*", "", without).count("*"):
            yield f"{what}: foreign marks: {without[:200]!r}"
