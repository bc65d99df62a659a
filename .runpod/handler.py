"""The Hub looks for a handler beside its other files. The image starts the same worker through its entrypoint."""

import sys

from worker_gpu.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
