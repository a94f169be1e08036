"""Names to addresses, on threads that hold up nobody.

The C library's resolver can wait half a minute for name servers that are gone. asyncio's own threads for it are waited for when
the process ends, so an agent could not be restarted just when names are what is broken. These are daemons, one a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

_under_way: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Future[list[str]]] = {}


async def addresses(host: str) -> list[str]:
    """The addresses of a name, best first; a literal address is its own. Raises OSError (gaierror) and UnicodeError."""
    if is_literal(host):
        return [host]
    key = (asyncio.get_running_loop(), host)
    if key not in _under_way:
        _under_way[key] = _look_up(*key)
    # Whoever loses patience leaves the others their answer.
    return await asyncio.shield(_under_way[key])


def by_system(host: str) -> tuple[str, ...]:
    """The same, by whoever can wait for it."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_literal(host: str) -> bool:
    """Whether it is an address already."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return True
    return False


def _look_up(loop: asyncio.AbstractEventLoop, host: str) -> asyncio.Future[list[str]]:
    answer: asyncio.Future[list[str]] = loop.create_future()

    def ended(found: list[str] | Exception) -> None:
        del _under_way[loop, host]
        if isinstance(found, list):
            answer.set_result(found)
            return
        answer.set_exception(found)
        # Read, so that nobody is told of an error for which nobody waits any more.
        answer.exception()

    def work() -> None:
        found: list[str] | Exception
        try:
            found = list(by_system(host))
        except (OSError, UnicodeError) as error:
            found = error
        # The loop is closed when the process is about to end.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended, found)

    try:
        threading.Thread(target=work, name=f"resolve {host}", daemon=True).start()
    except RuntimeError as error:
        # A host that is out of processes is one that needs its agent.
        raise OSError(f"cannot look up {host}: {error}") from error
    return answer
