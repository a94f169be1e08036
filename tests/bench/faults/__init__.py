"""The fault benchmark: faults of a catalogue are put into fresh lab hosts, and an independent check says what came of them."""
