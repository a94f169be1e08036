"""The decision core: state and one event in, state and effects out. No clock, no chance, no I/O."""
