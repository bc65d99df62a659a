"""The work of one attempt that was claimed: inputs fetched, graph executed, outputs stored."""

import asyncio

from worker_gpu import resources
from worker_gpu.aftermath import Leftovers
from worker_gpu.contract import Claim, Output, RanWith, Timings
from worker_gpu.execution import Execution, Order
from worker_gpu.gateway.channel import Channel
from worker_gpu.gateway.client import GatewayClient
from worker_gpu.graph import class_types, job_folder
from worker_gpu.inputs import InputFetcher, store_for
from worker_gpu.log import Log
from worker_gpu.outputs.collect import OutputOptions
from worker_gpu.outputs.upload import Uploader
from worker_gpu.spool import Spool
from worker_gpu.transfers import Transfers
from worker_gpu.workplace import Known, Workplace


class Work:
    """`run` once; what became of it can be asked at any time. `until` is the deadline on the workplace's clock."""

    def __init__(
        self,
        place: Workplace,
        claim: Claim,
        gateway: GatewayClient,
        channel: Channel,
        until: float,
        timings: Timings,
        log: Log,
    ) -> None:
        self._place = place
        self._claim = claim
        self._gateway = gateway
        self._channel = channel
        self._until = until
        self._timings = timings
        self._log = log
        self._folder = job_folder(claim.job, claim.attempt)
        self._spool = Spool(place.settings.data_dir / "spool" / self._folder)
        self._folders = place.comfy.folders.for_scope(claim.scope) if place.comfy.folders is not None else None
        self._store = store_for(self._folders, place.client)
        self._execution: Execution | None = None
        self._catalog: asyncio.Task[None] | None = None

    @property
    def execution_ms(self) -> int | None:
        """Time on the GPU; None where the graph never began."""
        return self._execution.execution_ms if self._execution is not None else None

    def stored(self) -> tuple[Output, ...]:
        """Outputs stored so far: their owner has been told of them, however the job ends."""
        return self._execution.stored() if self._execution is not None else ()

    def leftovers(self) -> Leftovers:
        """What the attempt left on the worker."""
        submitted = self._execution is not None and self._execution.submitted
        return Leftovers(self._claim.prompt_id if submitted else None, self._spool, self._folders)

    def ran_with(self) -> RanWith:
        """What explains the result later: models by their hash, and whether room was short."""
        place = self._place
        models = place.models.requested_by(self._claim.workflow) if place.models is not None else ()
        free = resources.measure(place.settings.data_dir)
        return RanWith(
            tuple((model.path, model.sha256) for model in models), free.memory_free_bytes, free.disk_free_bytes
        )

    async def run(self, checking: "asyncio.Task[Known]") -> list[Output]:
        """All outputs, stored. Raises `JobError`, `AttemptOver`."""
        place, claim = self._place, self._claim
        if place.current is not None:
            self._send_catalog(place.current)
        place.settings.nodes.check(class_types(claim.workflow))
        # Shielded: a ComfyUI that is being started is wanted by the next job too.
        known = await asyncio.shield(checking)
        self._send_catalog(known)
        if self._folders is not None:
            await asyncio.to_thread(self._folders.prepare)
        transfers = Transfers(place.http, place.patience, place.tools.now, place.tools.random, self._log)
        names = await self._fetch_inputs(transfers) if claim.inputs else {}
        order = Order(
            prompt_id=claim.prompt_id,
            workflow=claim.workflow,
            folders=self._folders,
            shared_folder=self._folder,
            options=OutputOptions(claim.options.temp_outputs, claim.limits, claim.options.metadata),
            previews=claim.options.previews,
            silence_s=float(claim.limits.silence_s),
        )
        uploader = Uploader(transfers, self._gateway, self._until)
        self._execution = Execution(
            place,
            order,
            self._channel,
            uploader,
            self._spool,
            self._timings,
            self._log,
        )
        return await self._execution.run(known, names)

    async def take_off(self) -> None:
        """Take the prompt off ComfyUI, where it may still be there."""
        if self._execution is None:
            return
        began = self._place.tools.now()
        stopped = await self._execution.take_off()
        if stopped is not None:
            spent = round((self._place.tools.now() - began) * 1000)
            self._log.info("comfyui stopped the prompt", sure=stopped, ms=spent)

    async def upload_again(self, names: tuple[str, ...]) -> bool:
        """Upload these outputs once more, since the store lost them; False when one of them is unknown."""
        collector = self._execution.collector if self._execution is not None else None
        return await collector.upload_again(names) if collector is not None else False

    async def _fetch_inputs(self, transfers: Transfers) -> dict[str, str]:
        began = self._place.tools.now()
        self._channel.stage("inputs")
        fetcher = InputFetcher(transfers, self._store, self._spool)
        names = await fetcher.fetch(self._claim.inputs, self._until)
        self._timings.inputs_ms = round((self._place.tools.now() - began) * 1000)
        return names

    async def catalog_sent(self) -> None:
        """Return when the catalogue has been sent, if it was wanted, or has taken too long: the gateway takes it only
        from an attempt that has not ended."""
        if self._catalog is not None:
            await asyncio.wait({self._catalog}, timeout=self._place.patience.catalog_s)

    def _send_catalog(self, known: Known) -> None:
        """Beside everything else, and whatever becomes of the prompt: a catalogue that is wrong lets no better one in
        by the jobs it refuses."""
        if self._claim.catalog_wanted and self._catalog is None:
            sending = self._gateway.send_catalog(known.about.version, known.catalog)
            self._catalog = asyncio.create_task(sending)
