"""What every transfer of a file to or from the store needs, and how long it waits and when it tries again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import aiohttp

from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts


@dataclass(frozen=True)
class Transfers:
    """Shared by the inputs and the outputs of a job. `now` is the clock that deadlines are on."""

    http: aiohttp.ClientSession
    timeouts: Timeouts
    now: Callable[[], float]
    random: Random
    log: Log

    @property
    def limit(self) -> aiohttp.ClientTimeout:
        """A transfer may take as long as bytes move."""
        return aiohttp.ClientTimeout(
            total=None, sock_connect=self.timeouts.call_s, sock_read=self.timeouts.transfer_stall_s
        )

    def pauses(self) -> Iterator[float]:
        """Seconds between tries, without end."""
        return self.timeouts.backoff(self.random)
