"""A worker that answers as worker-comfyui does, without a ComfyUI: the real RunPod SDK in its production loop.

What it takes and answers is written from reference/competitors.md section 3, not from its source. Its handler is not async, as
theirs is not: no cancel reaches it, and RunPod has to end the worker. What to answer is named by the graph's one node:
`{"1": {"class_type": "Answer", "inputs": {"with": "…"}}}`. Where it has to wait, it asks the test's server, which answers when
the test lets it.
"""

import base64
import hashlib
import os
import urllib.request
from typing import Any

import runpod

FILES = os.environ["FILES_URL"]
REFUSAL = (
    "Workflow validation failed:\n\u2022 Node 1 (errors): [{'type': 'value_not_in_list', 'message': 'Value not in list', "
    "'details': \"ckpt_name: 'nope.safetensors' not in []\", 'extra_info': {'input_name': 'ckpt_name'}}]\n"
    "\u2022 Node 1 (dependent_outputs): ['2']\n\u2022 Node 1 (class_type): CheckpointLoaderSimple"
)
PNG_HEAD = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")


def picture(size: int) -> bytes:
    """Bytes that the test can make again: a PNG's signature and header, then pseudorandom bytes."""
    return (PNG_HEAD + hashlib.shake_256(b"picture").digest(size))[:size]


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def invalid(order: Any) -> str | None:
    if not isinstance(order, dict) or not isinstance(order.get("workflow"), dict):
        return "Missing 'workflow' parameter"
    images = order.get("images", [])
    if not isinstance(images, list) or not all("name" in image and "image" in image for image in images):
        return "'images' must be a list of objects with 'name' and 'image' keys"
    return None


def handler(job: dict[str, Any]) -> dict[str, Any]:
    order = job["input"]
    wrong = invalid(order)
    if wrong is not None:
        return {"error": wrong}
    inputs = order["workflow"]["1"]["inputs"]
    match inputs["with"]:
        case "its images":
            return {
                "images": [
                    {"filename": image["name"], "type": "base64", "data": image["image"]} for image in order["images"]
                ]
            }
        case "picture":
            data = encoded(picture(inputs["size"]))
            return {"images": [{"filename": "ComfyUI_00001_.png", "type": "base64", "data": data}]}
        case "old picture":
            return {"status": "success", "message": encoded(picture(inputs["size"])), "refresh_worker": False}
        case "url":
            return {"images": [{"filename": "a.png", "type": "s3_url", "data": f"{FILES}/{inputs['file']}?signature=canary"}]}
        case "picture and errors":
            return {
                "images": [{"filename": "a.png", "type": "base64", "data": encoded(picture(100))}],
                "errors": ["Workflow execution error: Node Type: KSampler, Node ID: 3, Message: /comfyui/x.py broke"],
            }
        case "error":
            return {
                "error": "Workflow execution error: Node Type: KSampler, Node ID: 3, Message: no /comfyui/models/sd.safetensors"
            }
        case "exception":
            raise ValueError("boom at /comfyui/handler.py")
        case "no images":
            return {"status": "success_no_images", "images": []}
        case "no outputs":
            return {"error": "Job processing failed", "details": ["No outputs found in history for prompt 0192."]}
        case "refusal":
            return {"error": REFUSAL}
        case "nothing":
            return {}
        case "exit":
            os._exit(3)
        case "progress":
            runpod.serverless.progress_update(job, {"type": "progress", "value": 5, "max": 20, "node": "3"})
            wait(job)
            return {"images": [{"filename": "a.png", "type": "base64", "data": encoded(picture(100))}]}
        case "waiting":
            wait(job)
            return {}
        case unknown:
            return {"error": f"no such answer: {unknown}"}


def wait(job: dict[str, Any]) -> None:
    """Until the test says so."""
    with urllib.request.urlopen(f"{FILES}/wait/{job['id']}", timeout=120) as answer:
        answer.read()


runpod.serverless.start({"handler": handler})
