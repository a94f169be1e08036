"""The commands of `fleetmend-controller`, one file each: every file declares `COMMAND`, a click command named like the file."""
