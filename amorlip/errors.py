"""The one exception for what a user can mend."""


class AmorlipError(Exception):
    """Bad input or a failed step, told in one line: what, where, what to do. The command line prints it and exits 1."""

    def __init__(self, message: str) -> None:
        # keys, values and the texts of other libraries may hold line breaks
        super().__init__(" ".join(message.splitlines()))


class MissingTask(AmorlipError):
    """An evaluation set that cannot be had: gated, private or not there. Another try will not help."""
