"""How a command is declared, and the session that its function gets."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import click

from .clock import now_ms
from .connection import Endpoint, find_endpoint, open_channel
from .errors import of_call
from .output import plain, print_json, print_yaml

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from fleetmend.v1.admin_pb2_grpc import AdminServiceStub

CALL_TIMEOUT_S = 30.0
# A reader that is slower than the controller holds it up, as gRPC does.
ANSWERS_WAITING_MAX = 64
# A signal that comes in the moment before a thread falls asleep, or to another thread, does not wake it: it looks up so often.
LOOK_UP_S = 0.2
_CONNECTION_NAMES = ("socket", "controller", "ca", "certificate", "key")


class Session:
    """One run of a command: the way to the controller, and the way to print."""

    def __init__(self, output: str, options: dict[str, Any]) -> None:
        self.output = output
        self.now_ms = now_ms()
        self._options = options
        self._endpoint: Endpoint | None = None
        self._channel: Any = None

    def call(self, method: str, request: Message) -> Any:
        """The answer to one call."""
        with self._translated() as admin:
            return getattr(admin, method)(request, timeout=CALL_TIMEOUT_S)

    def stream(self, method: str, request: Message) -> Iterator[Any]:
        """The answers of a stream, as they come.

        A thread takes them from gRPC: an interrupt that comes while gRPC holds one of its locks would leave it locked, and the
        program would wait for ever at its end.
        """
        with self._translated() as admin:
            call, answers = getattr(admin, method)(request), Queue[Any](ANSWERS_WAITING_MAX)
            threading.Thread(target=_hand_over, args=(call, answers), daemon=True).start()
            try:
                while (answer := next_answer(answers)) is not None:
                    if isinstance(answer, Exception):
                        raise answer
                    yield answer
            finally:
                call.cancel()

    def show(self, answer: Message, table: Callable[[Any, int], None]) -> None:
        """Print an answer in the form that was asked for; `table` gets the answer and the time now."""
        if self.output == "table":
            table(answer, self.now_ms)
        else:
            self.show_value(plain(answer))

    def show_value(self, value: object, *, lines: bool = False) -> None:
        """Print JSON values as JSON or YAML."""
        (print_yaml if self.output == "yaml" else print_json)(value, lines=lines)

    def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            self._channel.close()

    @contextmanager
    def _translated(self) -> Iterator[AdminServiceStub]:
        if self._endpoint is None:
            self._endpoint = find_endpoint(self._options, os.environ)
            self._channel = open_channel(self._endpoint)
        import grpc

        from fleetmend.v1.admin_pb2_grpc import AdminServiceStub

        try:
            yield AdminServiceStub(self._channel)
        except grpc.RpcError as error:
            raise of_call(error, self._endpoint.address) from error


def next_answer(answers: Queue[Any]) -> Any:
    """What is handed over next; an interrupt ends the wait within a moment, whenever it comes."""
    while True:
        try:
            return answers.get(timeout=LOOK_UP_S)
        except Empty:
            continue


def _hand_over(call: Any, answers: Queue[Any]) -> None:
    """Every answer of a call, the error that ended it, if any, and None in any case: whoever waits is never left waiting."""
    import grpc

    try:
        for answer in call:
            answers.put(answer)
    except grpc.RpcError as error:
        answers.put(error)
    finally:
        answers.put(None)


def connection_options(*, hidden: bool = False) -> list[click.Parameter]:
    """The options that say where the controller is."""
    path = click.Path(dir_okay=False)
    return [
        click.Option(["--controller"], metavar="ADDRESS", hidden=hidden, help="Address of the controller, host or host:port."),
        click.Option(["--ca"], type=path, hidden=hidden, help="CA certificate of the controller."),
        click.Option(["--cert", "certificate"], type=path, hidden=hidden, help="Your certificate."),
        click.Option(["--key"], type=path, hidden=hidden, help="Your private key."),
        click.Option(["--socket"], type=path, hidden=hidden, help="The controller's Unix socket, on its own machine."),
    ]


def command(
    name: str,
    summary: str,
    run: Callable[..., None],
    *,
    examples: Sequence[str],
    json: str,
    params: Iterable[click.Parameter] = (),
    text: str = "",
) -> click.Command:
    """A command. `examples` are command lines, `json` says what is printed as JSON; `run` gets a Session and the parameters."""

    def callback(**values: Any) -> None:
        context = click.get_current_context()
        options = {key: values.pop(key) or context.find_root().params.get(key) for key in _CONNECTION_NAMES}
        session = Session(values.pop("output"), options)
        try:
            run(session, **values)
        finally:
            session.close()

    output = click.Option(
        ["--output", "-o"],
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="Form of the answer.",
    )
    lines = ["\b", "Examples:", *(f"  {example}" for example in examples), "", "\b", f"JSON: {json}"]
    return click.Command(
        name,
        help=f"{summary}\n\n{text}".strip(),
        short_help=summary,
        epilog="\n".join(lines),
        params=[*params, output, *connection_options(hidden=True)],
        callback=callback,
    )


def fetch_pages(session: Session, method: str, request: Any, field: str, limit: int) -> Any:
    """One answer with up to `limit` entries of its repeated `field`, gathered over pages."""
    whole: Any = None
    while True:
        have = 0 if whole is None else len(getattr(whole, field))
        request.page_size = min(1000, limit - have)
        page = session.call(method, request)
        if whole is None:
            whole = page
        else:
            getattr(whole, field).extend(getattr(page, field))
            whole.next_page_token = page.next_page_token
        if not whole.next_page_token or len(getattr(whole, field)) >= limit:
            return whole
        request.page_token = whole.next_page_token


def note_more(answer: Any) -> None:
    """Say under a table that there is more."""
    if answer.next_page_token:
        click.echo("there are more; raise --limit to see them", err=True)


def limit_option(default: int) -> click.Option:
    """--limit of a list."""
    return click.Option(
        ["--limit"], type=click.IntRange(1, 1_000_000), default=default, show_default=True, help="At most so many."
    )


def read_pairs(texts: Sequence[str], what: str) -> dict[str, str]:
    """`name=value` texts as a mapping."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"cannot read {what} {text!r}: write it as name=value")
        if name in pairs:
            raise click.UsageError(f"cannot take {what} {name!r} twice")
        pairs[name] = value
    return pairs
