"""A stage has every program it calls: `python3` in a stage without it would end a build after half an hour."""

import re
from pathlib import Path

import pytest

from image.places import WORKER, read_dockerfile
from image.programs import PACKAGES, calls, has, missing, packages, programs

DOCKERFILE = read_dockerfile()
COMPOSE = (WORKER / "compose.yaml").read_text()


def test_every_stage_has_the_programs_it_calls() -> None:
    assert missing(DOCKERFILE) == []


def test_the_calls_of_the_dockerfile_are_seen() -> None:
    seen = {f"{call.stage}: {call.program}" for call in calls(DOCKERFILE)}
    assert {
        *(
            "base: apt-get",
            "base: dpkg",
            "base: getent",
            "base: useradd",
            "tools: python3.12",
            "tools: /opt/uv/bin/pip",
        ),
        *("comfyui: grep", "torch: /opt/uv/bin/uv", "packages: /opt/comfyui/venv/bin/python", "app: python3.12"),
        *("check: /opt/image/check-nodes.sh", "worker: python3.12", "worker: /usr/bin/tini", "compute: /usr/bin/tini"),
        *("worker: /opt/image/entrypoint.sh", "baked: /opt/worker/venv/bin/python"),
    } <= seen


def test_the_programs_of_every_installed_package_are_known() -> None:
    installed = {name for stage in DOCKERFILE.stages.values() for name in packages(stage.instructions)}
    assert installed == set(PACKAGES)


def test_stages_that_bring_sources_have_git() -> None:
    brings = [call.stage for call in calls(DOCKERFILE) if re.search(r"fetch\.py (one|nodes) ", call.instruction.rest)]
    assert set(brings) == {"comfyui", "nodes"}
    assert all(has(DOCKERFILE, stage, "git") for stage in brings)


def test_a_compose_service_has_the_program_of_its_health_check() -> None:
    services = re.split(
        r"^  (?=\w+:\n)", COMPOSE.split("\nservices:\n")[1].split("\nvolumes:\n")[0], flags=re.MULTILINE
    )
    checked: list[str] = []
    for service in services:
        program = re.search(r"healthcheck:\n\s+test:\s+\[CMD, ([^,]+),", service)
        target = re.search(r"target: (\w+)", service)
        if program is not None and target is not None:
            checked.append(target[1])
            assert has(DOCKERFILE, target[1], program[1]), program[1]
    assert len(checked) == COMPOSE.count("healthcheck:") == 1


BASE = "FROM --platform=linux/amd64 ubuntu:24.04 AS base\nRUN apt-get install --yes python3.12 tini\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN python3 -m this\n", ["base: python3"]),
        ("RUN python3.12 -m this && /usr/bin/python3.12 -m that\n", []),
        ("RUN /usr/bin/python3 -m this\n", ["base: /usr/bin/python3"]),
        ("RUN cut a | while read -r x; do curl $x; done\n", ["base: curl"]),
        ('RUN if [ "$(nproc)" = 1 ]; then exit 1; fi\n', ["base: nproc"]),
        ("RUN A=1 B=2 wget x || { unzip x; }\n", ["base: wget", "base: unzip"]),
        ("RUN git clone x\nRUN apt-get install --yes git\n", ["base: git"]),
        ('ENTRYPOINT ["/usr/bin/tini", "--", "/opt/run.sh"]\nCMD ["serve"]\n', ["base: /opt/run.sh"]),
        ('COPY run.sh /opt/run.sh\nENTRYPOINT ["/usr/bin/tini", "--", "/opt/run.sh"]\n', []),
        ('CMD ["serve"]\n', ["base: serve"]),
        ('HEALTHCHECK --interval=5s CMD ["curl", "x"]\n', ["base: curl"]),
        ("HEALTHCHECK CMD python3.12 -c x || exit 1\n", []),
        ("HEALTHCHECK NONE\n", []),
        ('ENV PY=/opt/venv/bin/python\nRUN "${PY}" -c x\n', ["base: /opt/venv/bin/python"]),
        ('ENV PY=/opt/venv/bin/python\nRUN python3.12 -m venv /opt/venv\nRUN "${PY}" -c x\n', []),
        (
            "RUN python3.12 -m venv /opt/uv\nFROM ubuntu AS next\n"
            "RUN --mount=type=bind,from=base,source=/opt/uv,target=/opt/uv /opt/uv/bin/uv && python3.12 -c x\n",
            ["next: python3.12"],
        ),
        ("FROM base AS next\nRUN python3.12 -c x && ffmpeg x\n", ["next: ffmpeg"]),
    ],
)
def test_a_program_that_is_not_there_is_named_with_its_stage(text: str, expected: list[str], tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(BASE + text)
    assert missing(read_dockerfile(file)) == expected


def test_quoted_text_is_no_program() -> None:
    assert programs('python3.12 -c "import sys; curl, x = 1, 2" && echo "a | wget"') == ["python3.12"]
