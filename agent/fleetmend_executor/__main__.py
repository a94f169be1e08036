"""`fleetmend-executor`: the hands of Fleetmend on this server. Started by systemd when the agent dials; ends when idle."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys

from .orders import Desk, boot_id
from .run import Runner
from .server import Server

USAGE = """\
usage: fleetmend-executor [--listen PATH] [--policy FILE] [--state-dir DIR] [--allow-uid N|NAME]... [--idle-s SECONDS]

  --listen PATH     listen on this Unix socket (mode 0600); without it the socket is taken from systemd (LISTEN_FDS)
  --policy FILE     the host owner's policy (default /etc/fleetmend/executor.yaml)
  --state-dir DIR   key, identity, ledger, declaration (default /var/lib/fleetmend-executor)
  --allow-uid USER  who may ask, beside root; can be given several times
  --idle-s SECONDS  end after so long without a request, 0 for never (default 60)
"""
FIRST_FD = 3


class UsageError(ValueError):
    """Arguments or an environment that cannot be used."""


def main() -> int:
    """Serve until idle. 0: ended in order, 1: cannot serve, 2: usage."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE, end="")
        return 0
    try:
        options = parse(sys.argv[1:])
        listener = _listener(options.get("--listen", [""])[-1])
    except UsageError as error:
        print(f"fleetmend-executor: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"fleetmend-executor: cannot listen: {error}", file=sys.stderr)
        return 1
    os.umask(0o077)
    desk = Desk(
        options.get("--state-dir", ["/var/lib/fleetmend-executor"])[-1],
        options.get("--policy", ["/etc/fleetmend/executor.yaml"])[-1],
        boot_id(),
        say,
        Runner(say),
    )
    server = Server(listener, desk, frozenset({0, *map(uid_of, options.get("--allow-uid", []))}), say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: server.stop())
    server.serve(float(options.get("--idle-s", ["60"])[-1]))
    desk.close()
    return 0


def say(text: str) -> None:
    """One line for the journal."""
    print(text.replace("\n", " "), file=sys.stderr, flush=True)


def parse(argv: list[str]) -> dict[str, list[str]]:
    """Options as lists of their values. By hand: argparse alone would double the time of a cold start."""
    known = {"--listen", "--policy", "--state-dir", "--allow-uid", "--idle-s"}
    options: dict[str, list[str]] = {}
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for name, value in zip(words[::2], [*words[1::2], None][: len(words[::2])], strict=True):
        if name not in known or value is None:
            raise UsageError(f"cannot use {name!r}: see fleetmend-executor --help")
        options.setdefault(name, []).append(value)
    for user in options.get("--allow-uid", []):
        uid_of(user)
    try:
        idle_s = float(options.get("--idle-s", ["60"])[-1])
    except ValueError:
        idle_s = -1.0
    if not 0 <= idle_s < float("inf"):
        raise UsageError("cannot use --idle-s: a number of seconds is needed")
    return options


def uid_of(user: str) -> int:
    """The uid of a name or number."""
    if user.isascii() and user.isdigit():
        return int(user)
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise UsageError(f"cannot allow user {user!r}: no such user") from error


def _listener(path: str) -> socket.socket:
    if path:
        return _listen(path)
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise UsageError("cannot find a socket: start it by systemd's fleetmend-executor.socket, or give --listen PATH")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    os.set_inheritable(FIRST_FD, False)
    return socket.socket(fileno=FIRST_FD)


def _listen(path: str) -> socket.socket:
    """A socket of our own, in the place of a dead one."""
    if os.path.lexists(path) and stat.S_ISSOCK(os.lstat(path).st_mode):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(8)
    return listener


if __name__ == "__main__":
    sys.exit(main())
