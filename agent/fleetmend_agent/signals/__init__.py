"""What the machine says by itself. Each source calls back with what changed; a source that cannot work says why, and checks poll."""
