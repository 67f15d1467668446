"""Text of people and files made safe to print."""


def clean(text: str) -> str:
    """`text` on one line without control characters, which could steer a terminal, or lone surrogates."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shorten(text: str, length: int = 240) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
