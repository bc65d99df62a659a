"""Reports about the worker: `action: "health"`, `action: "debug"`, and the GPU check at its start."""
