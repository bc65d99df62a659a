"""Jobs without a gateway."""
