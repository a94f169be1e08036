"""The lab: real Debian systems with real systemd in containers, a network of their own, and faults to put into them.

Standard library only, because it runs with the machine's own python3, before anything of the product is installed.
"""
