"""The gateway side: calls with their retry rules, and the channel."""
