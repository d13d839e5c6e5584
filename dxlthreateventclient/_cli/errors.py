"""How a subcommand ends with an error."""


class CommandError(Exception):
    """Ends a subcommand: its message goes to stderr in one line, its ``status`` is the exit status.

    :param message: what went wrong, with what, and what to do
    :param status: 2 if the command line or the configuration is wrong, 1 if the fabric is
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status
