"""The one error that a user can mend."""


class ConvexpError(ValueError):
    """Something in the input, the configuration or the surroundings is wrong.

    The message is a single line: what was given, what is allowed, what to do. The command line prints it and exits
    with status 1; a traceback would say nothing more.
    """
