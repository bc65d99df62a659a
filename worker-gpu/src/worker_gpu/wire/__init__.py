"""The gateway: contract, calls, channel, and transfers to and from the store."""
