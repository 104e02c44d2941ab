"""The one error that a user can mend."""


class ConvexpError(ValueError):
    """Something in the input, the configuration or the surroundings is wrong.

    The message is a single line: what was given, what is allowed, what to do. The command line prints it and exits
    with status 1; a traceback would say nothing more.
    """

    def __init__(self, message: str) -> None:
        # A file's name may hold line ends, and signs that clear a terminal.
        super().__init__("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message))
