"""The floor: nothing but a D-Bus listener that restarts one unit the moment it fails. Usage: watcher.py UNIT OBJECT-PATH."""

import sys

from jeepney import DBusAddress, MatchRule, message_bus, new_method_call
from jeepney.io.blocking import open_dbus_connection

MANAGER = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")


def main() -> None:
    """Listens until it is killed. Acts once a crash: systemd repeats its signal, and a restart passes through other states."""
    unit, path = sys.argv[1:]
    connection = open_dbus_connection("SYSTEM")
    connection.send_and_get_reply(new_method_call(MANAGER, "Subscribe"))
    rule = MatchRule(type="signal", interface="org.freedesktop.DBus.Properties", member="PropertiesChanged", path=path)
    connection.send_and_get_reply(message_bus.AddMatch(rule))
    failed = False
    print("ready", flush=True)
    while True:
        message = connection.receive()
        if message.header.message_type.name != "signal" or len(message.body) < 2 or "ActiveState" not in message.body[1]:
            continue
        state = message.body[1]["ActiveState"][1]
        if state == "failed" and not failed:
            connection.send(new_method_call(MANAGER, "RestartUnit", "ss", (unit, "replace")))
        failed = state == "failed"


main()
