"""Published figures of others, computed again from their data and set beside ours."""
