"""The sections of a declaration file beyond units, mounts and space, one file each. Each declares `SECTION = Section(...)`."""
