"""Published figures of others, computed again from their data and compared."""
