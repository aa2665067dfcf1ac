"""The two things that can be wrong with what a user hands in."""


class InputError(ValueError):
    """Input that cannot be used, told in one sentence.

    The message names the file, the value found, what was expected and what to do. Commands print it without a
    traceback and end with exit code 2; a batch records it and goes on with the next study.
    """


class MissingExtraError(InputError):
    """An optional package is needed and not installed; the message names the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs the package "{package}", which is not installed; run: pip install "moeclip-med[{extra}]"'
        )


class NoticeWarning(UserWarning):
    """Something weaker or other than expected was done: shown to the user, never an error, never silent."""
