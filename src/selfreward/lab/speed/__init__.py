"""How long one iteration takes here and with what people would use instead, on random weights. `selfreward bench`."""
