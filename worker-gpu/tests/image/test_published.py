"""Files that build, publish and describe the images: bake, workflows, compose, and RunPod's Hub files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from image.places import ROOT, WORKER, read_dockerfile
from worker_gpu.settings import START_MARGIN_S, read_settings

BAKE = (WORKER / "docker-bake.hcl").read_text()
TARGETS = dict(re.findall(r'^target "(\w+)" \{\n(.*?)^\}', BAKE, re.MULTILINE | re.DOTALL))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
COMPOSE = (WORKER / "compose.yaml").read_text()
HUB: dict[str, Any] = json.loads((ROOT / ".runpod/hub.json").read_text())
HUB_TESTS: dict[str, Any] = json.loads((ROOT / ".runpod/tests.json").read_text())
DOCKERFILE = read_dockerfile()
GPU_POOLS = {
    *("AMPERE_16", "AMPERE_24", "AMPERE_48", "AMPERE_80", "ADA_24", "ADA_32_PRO", "ADA_48_PRO", "ADA_80_PRO"),
    *("BLACKWELL_96", "BLACKWELL_180", "HOPPER_141"),
}


def test_every_bake_target_is_for_amd64() -> None:
    assert re.findall(r"platforms\s+= (.*)", BAKE) == ['["linux/amd64"]']
    assert 'platforms = ["linux/amd64"]' in TARGETS["_image"]
    parents = {name: re.findall(r'inherits = \["(\w+)"\]', body) for name, body in TARGETS.items()}
    assert all(parent in (["_image"], ["serverless"]) for name, parent in parents.items() if name != "_image")


def test_bake_passes_only_arguments_that_the_dockerfile_has() -> None:
    declared = {i.rest.partition("=")[0] for stage in DOCKERFILE.stages.values() for i in stage.of("ARG")}
    passed = {
        name for block in re.findall(r"args = \{(.*?)\}", BAKE, re.DOTALL) for name in re.findall(r"(\w+)\s+=", block)
    }
    assert passed == {"NODES", "MODELS_GROUP", "IMAGE_VERSION"}
    assert passed <= declared


def test_bake_uses_every_variable_it_declares() -> None:
    for name in re.findall(r'^variable "(\w+)"', BAKE, re.MULTILINE):
        assert re.search(rf"= {name}$|\$\{{{name}\}}", BAKE, re.MULTILINE), name


def test_baked_stage_is_never_taken_from_the_cache() -> None:
    assert re.findall(r'no-cache-filter = \["(\w+)"\]', TARGETS["baked"]) == ["baked"]


def test_bake_uses_only_features_of_a_default_docker() -> None:
    assert set(re.findall(r"^  (\S+)\s+= ", "\n".join(TARGETS.values()), re.MULTILINE)) <= {
        *("context", "dockerfile", "platforms", "args", "labels", "target", "inherits", "tags", "secret"),
        *("no-cache-filter", "output"),
    }
    assert re.findall(r"^  output\s+= (.*)", BAKE, re.MULTILINE) == ['["type=cacheonly"]']


def test_every_published_image_has_an_sbom_and_provenance() -> None:
    text = (ROOT / ".github/workflows/image.yml").read_text()
    builds = [step for step in text.split("      - ") if "bake-action@" in step]
    published = [step for step in builds if "push: true" in step]
    assert [step for step in published if "sbom: true" not in step or "provenance: mode=max" not in step] == []
    assert published


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_pins_actions_by_commit_and_has_few_rights(workflow: Path) -> None:
    text = workflow.read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", use) for use in uses)
    assert "\npermissions:\n  contents: read\n" in text or "\npermissions: {}\n" in text
    jobs = re.findall(r"^  [\w-]+:\n(?=    )", text.split("\njobs:\n")[1], re.MULTILINE)
    assert text.count("timeout-minutes:") == len(jobs)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_names_existing_files(workflow: Path) -> None:
    paths = re.findall(
        r"(?<![\w./-])(?:worker-gpu/[\w./*-]+|\.ci/[\w.]+|\.github/workflows/[\w.]+)", workflow.read_text()
    )
    assert paths
    assert [path for path in paths if not list(ROOT.glob(path))] == []


def test_ci_runs_what_a_developer_runs() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    scripts = json.loads((ROOT / "package.json").read_text())["scripts"]
    for script in ("check", "test:gateway", "test:python", "test:e2e"):
        assert script in scripts
        assert f"- run: npm run {script}\n" in workflow
    projects = set(re.findall(r"\bname: '(\w+)'", (ROOT / "vitest.config.ts").read_text()))
    run = re.findall(r"--project (\w+)", f"{scripts['test:gateway']} {scripts['test:e2e']}")
    assert set(run) == projects


def test_image_workflow_tags_the_version_after_lint_check_and_scan() -> None:
    text = (ROOT / ".github/workflows/image.yml").read_text()
    steps = [
        "hadolint",
        "shellcheck",
        "targets: check",
        "push: true",
        "check-platform.sh",
        "scan-action@",
        "imagetools create",
    ]
    assert [text.index(step) for step in steps] == sorted(text.index(step) for step in steps)
    assert "sbom: true" in text
    assert "provenance: mode=max" in text
    (listed,) = re.findall(r"^        target: \[(.*)\]$", text, re.MULTILINE)
    assert set(listed.split(", ")) == {"serverless", "slim", "compute", "baked"} <= set(TARGETS)


def test_image_workflow_runs_for_every_file_of_an_image() -> None:
    text = (ROOT / ".github/workflows/image.yml").read_text()
    listed = re.findall(r"^      - (\S+)$", text.split("    paths:\n")[1].split("\n\n")[0], re.MULTILINE)
    assert listed == ["worker-gpu/**", ".dockerignore", ".runpod/**", ".github/workflows/image.yml"]
    assert all(list(ROOT.glob(path)) for path in listed)


def test_scan_report_can_be_uploaded_in_a_private_repository() -> None:
    publish = (ROOT / ".github/workflows/image.yml").read_text().split("\n  publish:\n")[1]
    permissions = publish.split("    permissions:\n")[1].split("    strategy:")[0]
    assert set(re.findall(r"^      (\S+: \w+)", permissions, re.MULTILINE)) == {
        *("contents: read", "packages: write", "security-events: write", "actions: read"),
    }


def test_baked_image_is_published_only_on_request() -> None:
    text = (ROOT / ".github/workflows/image.yml").read_text()
    (excluded,) = re.findall(r"exclude:\n\s+- target: \$\{\{ (.*) \}\}", text)
    assert excluded == "vars.PUBLISH_BAKED == 'true' && 'no such target' || 'baked'"


def test_no_image_is_called_latest() -> None:
    for text in [BAKE, COMPOSE, *(path.read_text() for path in WORKFLOWS)]:
        assert ":latest" not in text


def test_compose_builds_dockerfile_targets_with_one_gpu() -> None:
    assert re.findall(r"target: (\w+)", COMPOSE) == ["serverless", "compute"]
    assert set(re.findall(r"target: (\w+)", COMPOSE)) <= set(DOCKERFILE.stages)
    assert (WORKER / re.findall(r"context: (\S+)", COMPOSE)[0] / "worker-gpu/Dockerfile").is_file()
    assert "count: 1" in COMPOSE
    assert "platform: linux/amd64" in COMPOSE


def test_compose_reads_settings_from_a_file_that_git_ignores() -> None:
    worker = COMPOSE.split("\n  worker:\n")[1].split("\n  comfyui:\n")[0]
    assert "    env_file:\n      - path: worker.env\n        required: false\n" in worker
    assert {"worker.env", "models.env", "worker-gpu/models/"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_compose_listens_on_this_machine_only() -> None:
    published = re.findall(r"- ([\d.]+):\d+:\d+$", COMPOSE, re.MULTILINE)
    assert published == ["127.0.0.1", "127.0.0.1"]


def test_hub_builds_the_same_dockerfile() -> None:
    assert (ROOT / ".runpod/Dockerfile").resolve() == WORKER / "Dockerfile"
    assert (ROOT / ".runpod/handler.py").is_file()


def test_hub_json_has_the_fields_of_runpod() -> None:
    assert set(HUB) <= {"title", "description", "type", "category", "iconUrl", "config"}
    assert HUB["title"]
    assert HUB["description"]
    assert HUB["type"] == "serverless"
    assert HUB["category"] in {"audio", "embedding", "language", "video", "image"}
    config = HUB["config"]
    assert set(config) <= {
        *("runsOn", "endpointType", "containerDiskInGb", "gpuCount", "gpuIds", "cpuFlavor"),
        *("allowedCudaVersions", "env", "presets"),
    }
    assert config["runsOn"] == "GPU"
    assert config["containerDiskInGb"] >= 30
    assert config["gpuCount"] == 1
    assert set(config["gpuIds"].split(",")) <= GPU_POOLS


@pytest.mark.parametrize("entry", HUB["config"]["env"], ids=lambda entry: entry["key"])
def test_hub_variable_is_valid_and_read_by_the_worker(entry: dict[str, Any]) -> None:
    shown = entry["input"]
    assert set(entry) == {"key", "input"}
    assert {"name", "type", "description", "default"} <= set(shown)
    assert set(shown) <= {"name", "type", "description", "default", "required", "advanced", "options"}
    assert shown["type"] in {"string", "number", "boolean", "huggingface"}
    options = [option["value"] for option in shown.get("options", [])]
    assert not options or shown["default"] in options
    sources = "\n".join(path.read_text() for path in (WORKER / "src").rglob("*.py"))
    assert f'"{entry["key"]}"' in sources


def test_hub_tests_have_the_fields_of_runpod() -> None:
    assert set(HUB_TESTS) == {"tests", "config"}
    for test in HUB_TESTS["tests"]:
        assert set(test) == {"name", "input", "timeout"}
        assert 1_000 <= test["timeout"] <= 600_000
    assert HUB_TESTS["config"]["gpuTypeId"]
    names = [test["name"] for test in HUB_TESTS["tests"]]
    assert len(set(names)) == len(names)


def test_endpoint_in_the_guide_fits_the_image() -> None:
    guide = (ROOT / "docs/operations/deploy.md").read_text().split("## Deploy the worker")[1]
    (written,) = re.findall(r"```json\n(.*?)```", guide.split("\n## ")[0], re.DOTALL)
    body: dict[str, Any] = json.loads(written)
    assert set(body) <= {
        *("name", "type", "image", "gpu", "workers", "scaling", "timeout", "flashboot", "disk", "env"),
        *("registry", "dataCenterIds", "networkVolumes"),
    }
    assert body["type"] == "QUEUE"
    assert set(body["gpu"]) == {"pools", "minCudaVersion"}
    assert len(set(body["gpu"]["pools"]) & GPU_POOLS) == len(body["gpu"]["pools"]) >= 2
    cuda = read_dockerfile().arguments["CUDA_VERSION"].split(".")
    assert body["gpu"]["minCudaVersion"] == ".".join(cuda[:2])
    assert body["disk"] == HUB["config"]["containerDiskInGb"]
    env = {**body["env"], "COMFYUI_URL": "http://x"}
    assert int(env["RUNPOD_INIT_TIMEOUT"]) >= read_settings(env).start_timeout_s + START_MARGIN_S
    by_hub = {entry["key"]: entry["input"]["default"] for entry in HUB["config"]["env"]}
    assert str(by_hub["RUNPOD_INIT_TIMEOUT"]) == env["RUNPOD_INIT_TIMEOUT"]
