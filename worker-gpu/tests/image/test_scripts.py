"""The other scripts of the image, with stubs of ComfyUI and docker."""

import os
import subprocess
from pathlib import Path

import pytest

from image.places import IMAGE, path_of_an_image

TIMEOUT_S = 30
SCRIPTS = sorted(IMAGE.glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_executable_and_stops_at_the_first_error(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in script.read_text()


def check_nodes(folder: Path, log: str, code: int) -> "subprocess.CompletedProcess[str]":
    """Run check-nodes.sh against a ComfyUI that prints `log` and exits with `code`."""
    (folder / "log").write_text(log)
    stub = folder / "python"
    stub.write_text(
        f'#!/usr/bin/env bash\nprintf "%s\\n" "$@" >"{folder}/arguments"\ncat "{folder}/log"\nexit {code}\n'
    )
    stub.chmod(0o755)
    env = {"PATH": path_of_an_image(folder / "bin"), "COMFYUI_PATH": str(folder), "COMFYUI_PYTHON": str(stub)}
    command = [str(IMAGE / "check-nodes.sh")]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603


def test_check_nodes_names_imported_nodes(tmp_path: Path) -> None:
    done = check_nodes(tmp_path, "   0.1 seconds: /app/custom_nodes/B\n   0.0 seconds: /app/custom_nodes/A\n", 0)
    assert (done.returncode, done.stdout) == (0, "imported A\nimported B\n")
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert "--cpu" in arguments
    assert "--quick-test-for-ci" in arguments


def test_check_nodes_fails_with_the_log_of_a_node_that_does_not_import(tmp_path: Path) -> None:
    times = "   0.1 seconds (IMPORT FAILED): /app/custom_nodes/B\n   0.0 seconds: /app/custom_nodes/A\n"
    done = check_nodes(tmp_path, f"ImportError: no such name\n{times}", 0)
    assert done.returncode == 1
    assert "ImportError: no such name" in done.stdout
    assert done.stderr.splitlines() == ["check-nodes: these did not import:", "/app/custom_nodes/B"]


def test_check_nodes_fails_with_the_log_of_a_comfyui_that_does_not_start(tmp_path: Path) -> None:
    done = check_nodes(tmp_path, "no such module\n", 3)
    assert done.returncode == 1
    assert "no such module" in done.stdout
    assert "exited with code 3" in done.stderr


def check_platform(folder: Path, index: str, single: str = "") -> "subprocess.CompletedProcess[str]":
    """Run check-platform.sh with a docker that answers `index` for an index and `single` for one manifest, and
    otherwise fails as buildx does."""
    stub = folder / "docker"
    stub.write_text(
        f"#!/usr/bin/env bash\ncase \"$*\" in\n*Manifests*) said='{index}' ;;\n*Image.OS*) said='{single}' ;;\n"
        '*) exit 9 ;;\nesac\n[ -n "$said" ] || { echo "ERROR: cannot be had" >&2; exit 1; }\nprintf "$said"\n'
    )
    stub.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = [str(IMAGE / "check-platform.sh"), "example/image:1"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603


@pytest.mark.parametrize(
    ("index", "single"),
    [("linux/amd64\\nunknown/unknown\\n", ""), ("linux/amd64\\n", ""), ("", "linux/amd64")],
    ids=["with attestations", "an index", "one manifest"],
)
def test_check_platform_accepts_an_image_for_amd64(index: str, single: str, tmp_path: Path) -> None:
    done = check_platform(tmp_path, index, single)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("index", "single"),
    [("linux/arm64\\nunknown/unknown\\n", ""), ("linux/amd64\\nlinux/arm64\\n", ""), ("", "linux/arm64")],
    ids=["arm64", "both", "one manifest"],
)
def test_check_platform_rejects_an_image_for_another_platform(index: str, single: str, tmp_path: Path) -> None:
    done = check_platform(tmp_path, index, single)
    assert done.returncode == 1
    assert "example/image:1" in done.stderr


def test_check_platform_rejects_a_missing_image_with_the_registry_error(tmp_path: Path) -> None:
    done = check_platform(tmp_path, "", "")
    assert done.returncode == 1
    assert done.stderr == "ERROR: cannot be had\n"
    assert done.stdout == ""
