"""Every timeout and interval of the worker, in seconds. Tests shorten them; nothing else changes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Timeouts:
    """Waiting times. "contract" means docs/reference/worker-contract.md."""

    claim_s: float = 120.0
    """Repeat an unanswered claim this long (contract)."""
    catalog_s: float = 2.0
    """A report waits at most this long for the catalogue that is being sent: later the gateway may refuse it."""
    complete_grace_s: float = 120.0
    """Repeat an unanswered complete until this long after the deadline (contract)."""
    drain_s: float = 5.0
    """Wait for the last message's ack before complete (contract)."""
    call_s: float = 30.0
    """One call to the gateway; above the Workers CPU and storage times seen, below any proxy's own limit."""
    transfer_stall_s: float = 60.0
    """No byte of an input or output moved for this long: try again."""
    retry_first_s: float = 0.1
    retry_max_s: float = 5.0
    """Backoff between tries: doubling from first to most, with jitter (contract, for the channel)."""
    ping_s: float = 10.0
    ping_silence_s: float = 20.0
    """Channel: a ping this often; without any frame for the longer time, reconnect (contract)."""
    progress_gap_s: float = 0.334
    """Between progress messages: three a second leave room for the last one within the contract's four."""
    preview_gap_s: float = 0.5
    """Between previews (contract: at most two a second)."""
    comfy_call_s: float = 10.0
    """One small call to ComfyUI."""
    comfy_connect_s: float = 2.0
    """Wait for the socket before a prompt is posted without it; history still decides the end."""
    states_gap_s: float = 0.1
    """Between readings of ComfyUI's node states, of which each holds all nodes: more often than progress is sent."""
    poll_quiet_s: float = 5.0
    """After this long without a message of the prompt, look at the history (reference/comfyui.md section 4)."""
    poll_first_s: float = 0.1
    poll_max_s: float = 1.0
    """Between looks while the end is announced and history lacks it: doubling from first to most."""
    unreachable_s: float = 60.0
    """ComfyUI that does not answer for this long is given up: loading a model can block it for tens of seconds."""
    refused_s: float = 5.0
    """The same where it refuses connections: its process is gone, and the prompt with it."""
    cancel_s: float = 1.0
    """A stopped prompt must be gone after this; else ComfyUI is killed, and restarted once the stop is reported."""
    cancel_poll_s: float = 0.05
    """Between looks at the queue while canceling."""
    free_s: float = 0.5
    """Between asking ComfyUI to free memory and posting again: it frees when its queue wakes, within milliseconds."""
    stop_report_s: float = 15.0
    """Reporting a stop to the gateway when RunPod has ended the job: the worker is wanted elsewhere."""
    start_s: float = 600.0
    """ComfyUI's start; below RunPod's seven-minute limit it is RunPod that ends the worker."""
    start_poll_s: float = 0.05
    """Between looks while ComfyUI starts."""
    terminate_s: float = 5.0
    """Between SIGTERM and SIGKILL of a child."""
    claim_retry_after_max_s: float = 30.0
    """Longest Retry-After that is believed."""

    def backoff(self, random: Random) -> Iterator[float]:
        """Pauses between tries, without end: doubling with jitter of up to half."""
        ceiling = self.retry_first_s
        while True:
            yield random.uniform(ceiling / 2, ceiling)
            ceiling = min(self.retry_max_s, ceiling * 2)
