"""What a worker says of itself: `action: "health"`, `action: "debug"`, and the log at its start."""
