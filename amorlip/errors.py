"""The one exception for what a user can mend."""


class AmorlipError(Exception):
    """Bad input or a failed step, told in one line: what, where, what to do. The command line prints it and exits 1."""
