"""The error that people see: one message, no traceback."""


class InputError(ValueError):
    """Something the user gave cannot work. The message says what was given, what was expected and what to change."""
