"""Names that people and files give: a message for an unknown one, and text made safe to print."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: str, valid: Iterable[str]) -> str:
    """One line: what was given, the nearest valid name if one is near, and all valid names."""
    names = list(valid)
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(repr(n) if not n or ' ' in n else n for n in names)}."


def clean(text: str) -> str:
    """`text` on one line without control characters, which could steer a terminal, or lone surrogates."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shorten(text: str, length: int = 240) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
