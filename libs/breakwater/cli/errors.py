"""How a command ends badly: a sentence on standard error and an exit code scripts can tell apart."""

from typing import IO, Any

import click

from breakwater.cli.output import use_colour


class CommandError(click.ClickException):
    """The command failed; the text says what to do next. Exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints it on standard error."""
        text = f"Error: {self.format_message()}"
        click.echo(click.style(text, fg="red") if use_colour() else text, err=True, file=file)


class NotAllowedError(CommandError):
    """No credential, a wrong one, or one that may not do this. Exit code 4."""

    exit_code = 4


class RequestRefusedError(CommandError):
    """The platform refused a request. `problem` is its problem document (RFC 9457)."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        lines = [str(problem.get("detail") or problem.get("title") or f"HTTP {status}")]
        lines += [f"  {error['field']}: {error['reason']}" for error in problem.get("errors", [])]
        if problem.get("code"):
            lines.append(f"See `breakwater explain {problem['code']}`.")
        if problem.get("request_id"):
            lines.append(f"Request {problem['request_id']}.")
        super().__init__("\n".join(lines))


class RequestNotAllowedError(RequestRefusedError, NotAllowedError):
    """The platform answered 401 or 403."""
