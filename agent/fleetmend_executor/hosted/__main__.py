"""`python3 -I -m fleetmend_executor.hosted VERB ARGUMENT...`: one verb with root's powers, started by systemd."""

from __future__ import annotations

import sys

from fleetmend import registry

from ..actions import Refused
from ..run import ActionFailed
from . import EXIT_FAILED, EXIT_REFUSED, Verb


def main(arguments: tuple[str, ...]) -> int:
    """Run the verb; its lines, and the reason if it did not work out, go to the output."""
    package = sys.modules[__package__ or "fleetmend_executor.hosted"]
    if not arguments or arguments[0] not in registry.names(package):
        print(f"usage: python3 -m fleetmend_executor.hosted {'|'.join(registry.names(package))} ARGUMENT...", file=sys.stderr)
        return 2
    verb = registry.load_one(package, arguments[0], "VERB", Verb)
    try:
        for line in verb.run(arguments[1:]):
            print(line, flush=True)
    except Refused as error:
        print(f"{error.reason}: {error}")
        return EXIT_REFUSED
    except ActionFailed as error:
        print(f"{error.reason}: {error}")
        return EXIT_FAILED
    except OSError as error:
        print(f"os_error: cannot {verb.name}: {error.strerror}: {error.filename or ''}")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
