"""What all commands share: where the service is, how the caller wants the answer, and calls with checked answers.

Answers are plain data, not the types of ``RpcClient``: those take longer to load than this program may take to start,
and ``--json`` prints what the service answered, of whatever version it is (docs/adr/0016-client.md).
"""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from hero_supervisor.errors import HeroError
from hero_supervisor.rpc_client import DEFAULT_TIMEOUT_S, RawClient, UnexpectedAnswer, default_url

#: Completion must not hold up the shell.
_COMPLETION_TIMEOUT_S = 1.0

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and errors too.")]


@dataclass
class Session:
    """The global options of one invocation."""

    #: Where the service is; found when it is not given.
    url: str | None = None
    token: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    as_json: bool = False
    debug: bool = False
    #: Made when it is first needed; its connection stays open for the next call.
    _client: RawClient | None = None

    def call(self, method: str, params: object = None, *, extra_s: float = 0) -> Any:
        """Call a method that may take ``extra_s`` seconds longer than others, and return its result."""
        client = self._client = self._client or RawClient(self.url or default_url(), self.token)
        return client.call(method, params, timeout_s=self.timeout_s + extra_s)

    def record(self, method: str, params: object = None, *, extra_s: float = 0) -> dict[str, Any]:
        """Call a method that returns one object.

        Raises:
            UnexpectedAnswer: It returned something else.
        """
        result = self.call(method, params, extra_s=extra_s)
        if not isinstance(result, dict):
            raise _unexpected(method, "an object")
        return result

    def records(self, method: str, params: object = None, *, extra_s: float = 0) -> list[dict[str, Any]]:
        """Call a method that returns a list of objects.

        Raises:
            UnexpectedAnswer: It returned something else.
        """
        result = self.call(method, params, extra_s=extra_s)
        if not isinstance(result, list) or not all(isinstance(item, dict) for item in result):
            raise _unexpected(method, "a list of objects")
        return result

    def text(self, method: str, params: object = None) -> str:
        """Call a method that returns a string.

        Raises:
            UnexpectedAnswer: It returned something else.
        """
        result = self.call(method, params)
        if not isinstance(result, str):
            raise _unexpected(method, "a string")
        return result


def session_of(ctx: typer.Context, *, as_json: bool) -> Session:
    """Return the session of a command; ``--json`` counts before and after its name."""
    session = ctx.find_object(Session) or Session()
    session.as_json = session.as_json or as_json
    return session


def complete_runner(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of runners that begin like this, for the shell."""
    # While completing, the callback that fills the session does not run; the options are parsed nevertheless.
    options = ctx.find_root().params
    url = options.get("url") or default_url()
    client = RawClient(url, options.get("token"), timeout_s=_COMPLETION_TIMEOUT_S)
    try:
        ids = client.call("list_runners")
    except HeroError:
        # There is no place for a message between two words; nothing is completed.
        return []
    return [id for id in ids if isinstance(id, str) and id.startswith(incomplete) and id.isprintable()]


def _unexpected(method: str, expected: str) -> UnexpectedAnswer:
    hint = "do herosup and the service have the same version?"
    return UnexpectedAnswer(f"cannot use the answer of {method}: it is not {expected}", hint=hint)
