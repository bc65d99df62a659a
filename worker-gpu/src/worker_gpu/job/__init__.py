"""One job, from its claim or request to its report or response."""
