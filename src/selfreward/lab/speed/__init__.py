"""The time of one iteration here and with common alternatives, on random weights. `selfreward bench`."""
