"""The work of one attempt that was claimed: inputs fetched, graph executed, outputs stored."""

import asyncio

from worker_gpu.job.execution import Execution, PromptRequest
from worker_gpu.job.graph import class_types, job_folder
from worker_gpu.job.inputs import InputFetcher, input_store_for
from worker_gpu.job.spool import Spool
from worker_gpu.lifecycle import resources
from worker_gpu.lifecycle.job_cleanup import JobArtifacts
from worker_gpu.lifecycle.worker_context import ComfyInfo, WorkerContext
from worker_gpu.log import Log
from worker_gpu.outputs.collect import OutputOptions
from worker_gpu.outputs.upload import Uploader
from worker_gpu.wire.channel import Channel
from worker_gpu.wire.client import GatewayClient
from worker_gpu.wire.contract import Claim, Output, RanWith, Timings
from worker_gpu.wire.transfers import Transfers


class Work:
    """`run` once; what became of it can be asked at any time. `until` is the deadline on the workplace's clock."""

    def __init__(
        self,
        context: WorkerContext,
        claim: Claim,
        gateway: GatewayClient,
        channel: Channel,
        until: float,
        timings: Timings,
        log: Log,
    ) -> None:
        self._context = context
        self._claim = claim
        self._gateway = gateway
        self._channel = channel
        self._until = until
        self._timings = timings
        self._log = log
        self._folder = job_folder(claim.job, claim.attempt)
        self._spool = Spool(context.settings.data_dir / "spool" / self._folder)
        self._folders = context.comfy.folders.for_scope(claim.scope) if context.comfy.folders is not None else None
        self._store = input_store_for(self._folders, context.client)
        self._execution: Execution | None = None
        self._catalog: asyncio.Task[None] | None = None

    @property
    def execution_ms(self) -> int | None:
        """Time on the GPU; None where the graph never began."""
        return self._execution.execution_ms if self._execution is not None else None

    def stored(self) -> tuple[Output, ...]:
        """Outputs stored so far: their owner has been told of them, however the job ends."""
        return self._execution.stored() if self._execution is not None else ()

    def artifacts(self) -> JobArtifacts:
        """What the attempt left on the worker."""
        submitted = self._execution is not None and self._execution.submitted
        return JobArtifacts(self._claim.prompt_id if submitted else None, self._spool, self._folders)

    def ran_with(self) -> RanWith:
        """What explains the result later: models by their hash, and whether room was short."""
        context = self._context
        models = context.models.requested_by(self._claim.workflow) if context.models is not None else ()
        free = resources.measure(context.settings.data_dir)
        return RanWith(
            tuple((model.path, model.sha256) for model in models), free.memory_free_bytes, free.disk_free_bytes
        )

    async def run(self, checking: "asyncio.Task[ComfyInfo]") -> list[Output]:
        """All outputs, stored. Raises `JobError`, `AttemptOver`."""
        context, claim = self._context, self._claim
        if context.current is not None:
            self._send_catalog(context.current)
        context.settings.nodes.check(class_types(claim.workflow))
        # Shielded: a ComfyUI that is being started is wanted by the next job too.
        known = await asyncio.shield(checking)
        self._send_catalog(known)
        if self._folders is not None:
            await asyncio.to_thread(self._folders.prepare)
        transfers = Transfers(context.http, context.timeouts, context.tools.now, context.tools.random, self._log)
        names = await self._fetch_inputs(transfers) if claim.inputs else {}
        order = PromptRequest(
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
            context,
            order,
            self._channel,
            uploader,
            self._spool,
            self._timings,
            self._log,
        )
        return await self._execution.run(known, names)

    async def cancel_prompt(self) -> None:
        """Take the prompt off ComfyUI, where it may still be there."""
        if self._execution is None:
            return
        began = self._context.tools.now()
        stopped = await self._execution.cancel_prompt()
        if stopped is not None:
            spent = round((self._context.tools.now() - began) * 1000)
            self._log.info("comfyui stopped the prompt", sure=stopped, ms=spent)

    async def upload_again(self, names: tuple[str, ...]) -> bool:
        """Upload these outputs once more, since the store lost them; False when one of them is unknown."""
        collector = self._execution.collector if self._execution is not None else None
        return await collector.upload_again(names) if collector is not None else False

    async def _fetch_inputs(self, transfers: Transfers) -> dict[str, str]:
        began = self._context.tools.now()
        self._channel.stage("inputs")
        fetcher = InputFetcher(transfers, self._store, self._spool)
        names = await fetcher.fetch(self._claim.inputs, self._until)
        self._timings.inputs_ms = round((self._context.tools.now() - began) * 1000)
        return names

    async def catalog_sent(self) -> None:
        """Return when the catalogue has been sent, if it was wanted, or has taken too long: the gateway takes it only
        from an attempt that has not ended."""
        if self._catalog is not None:
            await asyncio.wait({self._catalog}, timeout=self._context.timeouts.catalog_s)

    def _send_catalog(self, known: ComfyInfo) -> None:
        """Beside everything else, and whatever becomes of the prompt: a catalogue that is wrong lets no better one in
        by the jobs it refuses."""
        if self._claim.catalog_wanted and self._catalog is None:
            sending = self._gateway.send_catalog(known.about.version, known.catalog)
            self._catalog = asyncio.create_task(sending)
