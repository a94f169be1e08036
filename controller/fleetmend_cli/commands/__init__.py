"""The commands, one file each. Each declares `COMMAND`; a folder is a group."""
