"""What the machine says by itself. A source calls back with what changed; one that cannot work says why, and checks poll."""
