"""The one exception that is meant for the user."""


class UserError(Exception):
    """What happened, and what to do about it: two short clauses in the user's words.

    The text is shown as it is, on the command line (exit code 2) and in the window. Anything that is raised
    and is not a ``UserError`` is a bug.
    """

    def __init__(self, what: str, do: str = "") -> None:
        self.what = what.rstrip(".")
        self.do = do.rstrip(".")
        super().__init__(f"{self.what}. {self.do}." if self.do else f"{self.what}.")
