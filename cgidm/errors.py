"""Errors that a user can mend. Every other exception is a bug."""

from typing import Any

from .messages import Note


class UserError(ValueError):
    """Something that was given cannot be used.

    Attributes:
        note: what is wrong, as a code and its parameters; `code` and `params` are its parts.

    The message says what was given, what is accepted, and what to do: "expected 1 to 5, got 7". It is the sentence of
    `code` in `cgidm/messages/en/`; another language renders the same code. Catch the error and compare `code`, never
    the sentence.
    """

    def __init__(self, code: str, **params: Any) -> None:
        self.note = Note(code, params)
        super().__init__(str(self.note))

    @property
    def code(self) -> str:
        """What went wrong, as a dotted name: "intake.empty_file"."""
        return self.note.code

    @property
    def params(self) -> dict[str, Any]:
        """What the sentence of the code names: the given value, what is accepted."""
        return dict(self.note.params)

    def __reduce__(self) -> tuple[Any, ...]:  # with its parameters, across processes
        return _restore, (type(self), self.code, self.params)


def _restore(kind: type[UserError], code: str, params: dict[str, Any]) -> UserError:
    return kind(code, **params)
