"""The Dockerfile: arguments, stages, pins and users, as far as no other tool checks them."""

import re

import pytest

from image.places import ROOT, WORKER, read_dockerfile

DOCKERFILE = read_dockerfile()
STAGES = list(DOCKERFILE.stages.values())
TARGETS = ["serverless", "baked", "compute"]
ALSO_BUILT = ["check"]


def sources() -> list[str]:
    """The paths that instructions copy or mount from the build context."""
    found: list[str] = []
    for stage in STAGES:
        for instruction in stage.instructions:
            if instruction.word in ("COPY", "ADD") and not any(
                flag.startswith("--from=") for flag in instruction.flags
            ):
                found += instruction.words[:-1]
            for flag in instruction.flags:
                pairs = [part.partition("=") for part in flag.removeprefix("--mount=").split(",")]
                parts = {name: value for name, _, value in pairs}
                if flag.startswith("--mount=type=bind") and "from" not in parts:
                    found.append(parts["source"])
    return found


def test_build_context_has_only_files_that_an_instruction_copies() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [path for path in kept if not any(source.startswith(path) for source in sources())] == []


def test_dockerfile_uses_every_argument() -> None:
    unused: list[str] = []
    for stage in STAGES:
        for index, instruction in enumerate(stage.instructions):
            if instruction.word == "ARG":
                name = instruction.rest.partition("=")[0]
                later = " ".join(other.rest for other in stage.instructions[index + 1 :])
                if not re.search(rf"\$\{{?{name}\b", later):
                    unused.append(f"{stage.name}: {name}")
    everything = " ".join([stage.base for stage in STAGES])
    unused += [name for name in DOCKERFILE.arguments if f"${{{name}}}" not in everything]
    assert unused == []


def test_arguments_of_one_name_have_one_default() -> None:
    defaults: dict[str, set[str]] = {}
    for stage in STAGES:
        for instruction in stage.of("ARG"):
            name, given, default = instruction.rest.partition("=")
            if given:
                defaults.setdefault(name, set()).add(default)
    assert {name: values for name, values in defaults.items() if len(values) > 1} == {}


def test_every_stage_serves_a_target() -> None:
    reached: set[str] = set()
    waiting = [*TARGETS, *ALSO_BUILT]
    while waiting:
        name = waiting.pop()
        if name not in reached and name in DOCKERFILE.stages:
            reached.add(name)
            waiting += DOCKERFILE.stages[name].needs()
    assert set(DOCKERFILE.stages) - reached == set()


def test_build_without_a_target_makes_the_serverless_image() -> None:
    assert STAGES[-1].name == "serverless"


def test_base_images_are_for_amd64_and_pinned_by_digest() -> None:
    outside = [stage for stage in STAGES if stage.base not in DOCKERFILE.stages and stage.base != "scratch"]
    assert outside
    for stage in outside:
        assert stage.platform == "linux/amd64"
        assert re.fullmatch(r"[a-z/]+:\$\{CUDA_VERSION\}-base-ubuntu24\.04@\$\{CUDA_DIGEST\}", stage.base)
    assert re.fullmatch(r"\d+\.\d+\.\d+", DOCKERFILE.arguments["CUDA_VERSION"])
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", DOCKERFILE.arguments["CUDA_DIGEST"])


def test_build_for_another_platform_fails_before_any_install() -> None:
    first = DOCKERFILE.stages["base"].of("RUN")[0].rest
    assert '"${TARGETARCH}" != amd64' in first
    assert "exit 1" in first


@pytest.mark.parametrize("target", TARGETS)
def test_image_runs_as_a_user_under_tini_and_stops_on_sigterm(target: str) -> None:
    assert DOCKERFILE.last(target, "USER") == "1000:1000"
    assert DOCKERFILE.last(target, "ENTRYPOINT") == '["/usr/bin/tini", "--", "/opt/image/entrypoint.sh"]'
    assert DOCKERFILE.last(target, "STOPSIGNAL") == "SIGTERM"
    assert DOCKERFILE.last(target, "CMD") == ('["compute"]' if target == "compute" else '["serverless"]')


def test_serverless_and_compute_have_the_same_nodes() -> None:
    lines = [[stage.name for stage in DOCKERFILE.line(name)] for name in ("serverless", "compute")]
    assert all(line[:4] == ["base", "torch", "packages", "app"] for line in lines)


def test_layers_are_ordered_by_how_often_they_change() -> None:
    said = [f"{i.word} {i.rest}" for stage in DOCKERFILE.line("serverless") for i in stage.instructions]
    marks = [
        "apt-get",
        "torch.lock",
        "comfyui.lock",
        "--from=comfyui",
        "fetch.py locks",
        "/custom_nodes",
        "src/worker_gpu",
    ]
    places = [next(index for index, text in enumerate(said) if mark in text) for mark in marks]
    assert places == sorted(places)


def test_every_package_is_installed_by_hash() -> None:
    installs = [
        part for stage in STAGES for run in stage.of("RUN") for part in re.findall(r"pip install[^&;]*", run.rest)
    ]
    assert len(installs) >= 6
    for install in installs:
        assert "--require-hashes" in install
        assert "--no-deps" in install
        assert "--only-binary :all:" in install
        assert re.search(r"--requirement \S+\.lock|--requirement \"/tmp/locks/\$\{lock\}\"", install)


def test_packages_built_from_source_are_named_and_locked() -> None:
    named = set(re.findall(r"--no-binary (\S+)", (WORKER / "Dockerfile").read_text()))
    locks = "\n".join(path.read_text() for path in (WORKER / "image").glob("nodes-*.lock"))
    assert named == {"encodec", "wget"}
    assert all(f"\n{name}==" in locks for name in named)


def test_bucket_keys_are_a_secret_of_the_baked_target_only() -> None:
    assert "type=secret,id=models,required=true" in " ".join(run.rest for run in DOCKERFILE.stages["baked"].of("RUN"))
    assert "secrets" not in " ".join(i.rest for i in DOCKERFILE.stages["serverless"].instructions)


def test_failed_pull_fails_the_build_of_the_baked_image() -> None:
    """`models pull` fails if a model cannot be fetched or if it names no model. Its exit code is that of the build."""
    (run,) = DOCKERFILE.stages["baked"].of("RUN")
    assert run.rest.endswith('-m worker_gpu models pull --baked --group "${MODELS_GROUP}"')
    assert not re.search(r"[;|]", run.rest)


def test_dockerfile_fetches_only_by_commit_or_hash() -> None:
    text = (WORKER / "Dockerfile").read_text()
    assert not re.search(r"^ADD |curl|\bwget http|git clone|:latest", text, re.MULTILINE)
    assert re.search(r"^ARG COMFYUI_COMMIT=[0-9a-f]{40}$", text, re.MULTILINE)


def test_pinned_comfyui_has_the_fix_of_the_path_traversal() -> None:
    """CVE-2026-56673: the first release without it is 0.28.0."""
    version = re.search(r"^ARG COMFYUI_VERSION=(\d+)\.(\d+)\.\d+$", (WORKER / "Dockerfile").read_text(), re.MULTILINE)
    assert version is not None
    assert (int(version[1]), int(version[2])) >= (0, 28)


def test_no_image_has_the_manager() -> None:
    text = (WORKER / "Dockerfile").read_text() + (WORKER / "image/nodes.lock").read_text()
    text += (WORKER / "image/entrypoint.sh").read_text()
    assert "manager" not in text.lower()
