"""The one kind of exception that is a user's to mend."""


class UserError(ValueError):
    """A mistake in what was given. The message is one line: what was given, what is accepted, what to do."""
