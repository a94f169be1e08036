"""What operators ask of the controller: lists, explanations, pauses, runs, tokens.

Reads the store and the fleet, and changes them by events only.
"""
