"""/api/jobs: queue and history in one view, as newer versions of ComfyUI have it (recorded 0.3.64 has not)."""

import uuid

from aiohttp import web

from local_comfyui.job_view import STATUSES, ended_job, queued_job, sort_jobs
from local_comfyui.json_types import JsonObject, as_strings
from local_comfyui.prompt_queue import PromptQueue
from local_comfyui.routes.answers import body_of, engine_of, problem

routes = web.RouteTableDef()


def _jobs(queue: PromptQueue) -> list[JsonObject]:
    running, waiting = queue.now()
    jobs = [queued_job(item, "pending") for item in waiting] + [queued_job(item, "in_progress") for item in running]
    return jobs + [ended_job(ended) for ended in queue.history().values()]


@routes.get("/api/jobs")
async def get_jobs(request: web.Request) -> web.Response:
    """`status` (comma-separated), `workflow_id`, `sort_by`, `sort_order`, `limit`, `offset`: `{jobs, pagination}`."""
    query = request.query
    wanted = [status.strip().lower() for status in query.get("status", "").split(",") if status.strip()]
    unknown = [status for status in wanted if status not in STATUSES]
    if unknown:
        return problem(400, f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
    sort_by, order = query.get("sort_by", "created_at"), query.get("sort_order", "desc")
    if sort_by not in ("created_at", "execution_duration"):
        return problem(400, "sort_by must be 'created_at' or 'execution_duration'")
    if order not in ("asc", "desc"):
        return problem(400, "sort_order must be 'asc' or 'desc'")
    limit, offset = query.get("limit"), query.get("offset", "0")
    if limit is not None and (not limit.isdecimal() or int(limit) < 1):
        return problem(400, "limit must be a positive integer")
    if not offset.isdecimal():
        return problem(400, "offset must be a non-negative integer")
    jobs = _jobs(engine_of(request).queue)
    if wanted:
        jobs = [job for job in jobs if job["status"] in wanted]
    if "workflow_id" in query:
        jobs = [job for job in jobs if job.get("workflow_id") == query["workflow_id"]]
    jobs = sort_jobs(jobs, by_duration=sort_by == "execution_duration", newest_first=order == "desc")
    start = int(offset)
    page = jobs[start:] if limit is None else jobs[start : start + int(limit)]
    pagination: JsonObject = {
        "offset": start,
        "limit": None if limit is None else int(limit),
        "total": len(jobs),
        "has_more": start + len(page) < len(jobs),
    }
    return web.json_response({"jobs": page, "pagination": pagination})


@routes.get("/api/jobs/{job_id}")
async def get_job(request: web.Request) -> web.Response:
    """One job with outputs, error and workflow; 404 when it is unknown or was deleted from the queue."""
    queue, job_id = engine_of(request).queue, request.match_info["job_id"]
    ended = queue.ended(job_id)
    if ended is not None:
        return web.json_response(ended_job(ended, whole=True))
    running, waiting = queue.now()
    for item in running:
        if item.prompt_id == job_id:
            return web.json_response(queued_job(item, "in_progress", whole=True))
    for item in waiting:
        if item.prompt_id == job_id:
            return web.json_response(queued_job(item, "pending", whole=True))
    ended = queue.ended(job_id)  # it may have ended between the two looks
    return problem(404, "Job not found") if ended is None else web.json_response(ended_job(ended, whole=True))


@routes.post("/api/jobs/{job_id}/cancel")
async def cancel_job(request: web.Request) -> web.Response:
    """Interrupt or dequeue: `{cancelled}`, false when the job has ended or is unknown."""
    return web.json_response({"cancelled": engine_of(request).queue.cancel(request.match_info["job_id"])})


@routes.post("/api/jobs/cancel")
async def cancel_jobs(request: web.Request) -> web.Response:
    """`{job_ids}`: `{cancelled}` is true when any of them was stopped; 400 names ids that cannot be one."""
    queue, body = engine_of(request).queue, await body_of(request)
    job_ids = body.get("job_ids")
    if not isinstance(job_ids, list):
        return problem(400, "job_ids must be a list")
    invalid = [job_id for job_id in job_ids if not isinstance(job_id, str) or not _is_uuid(job_id)]
    if invalid:
        return web.json_response({"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}, status=400)
    stopped = [queue.cancel(job_id) for job_id in as_strings(job_ids)]
    return web.json_response({"cancelled": any(stopped)})


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
