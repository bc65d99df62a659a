"""`python -m worker_gpu models`: fill the bucket, and pull and verify a models folder. docs/guides/models.md."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from worker_gpu.log import Log
from worker_gpu.models.cli.arguments import parser
from worker_gpu.models.cli.push import Pusher, describe
from worker_gpu.models.cli.remote_entries import describe_hub_file, describe_url
from worker_gpu.models.cli.verify import verify_files
from worker_gpu.models.disk.local_tree import LocalTree
from worker_gpu.models.download.bucket import BucketClient
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import MANIFEST_KEY, FromHub, Manifest, ModelFile
from worker_gpu.models.manifest.manifest_entries import (
    PushEntry,
    is_stored_elsewhere,
    replaces_object,
    with_pushed,
    without_entries,
)
from worker_gpu.models.manifest.model_path import CODE_FOLDERS, PLAIN_SUFFIXES
from worker_gpu.models.settings import Bucket, ModelSettings, read_model_settings
from worker_gpu.models.sync import Batch, ModelSync, Progress

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str], env: Mapping[str, str] | None = None, out: TextIO | None = None) -> int:
    """Run one command. Exit code: 0; 1 if a model is unavailable or wrong; 2 for a wrong argument or setting."""
    output = out or sys.stdout
    arguments = parser().parse_args(list(argv))
    try:
        settings = read_model_settings(os.environ if env is None else env)
        return _COMMANDS[arguments.command](arguments, settings, output)
    except ModelError as error:
        output.write(f"{error.code}: {error.message}\n")
        return EXIT_USAGE if error.code == "bad_setting" else EXIT_FAILED


def _push(arguments: argparse.Namespace, settings: ModelSettings, out: TextIO) -> int:
    sources = _sources(arguments, settings)
    pusher = Pusher(_bucket(settings), settings.timeouts, BucketClient)
    pushed: list[tuple[PushEntry, ModelFile]] = []

    def note() -> Manifest:
        noted = pusher.update_manifest(lambda before: with_pushed(before, pushed))
        pushed.clear()
        return noted

    manifest = pusher.manifest()
    try:
        for source, path in sources:
            entry, former = _entry(arguments, path), manifest.files.get(path)
            file = _push_one(arguments, settings, pusher, source, entry, former, out)
            pushed.append((entry, file))
            if replaces_object(file, former):
                # Workers still read the manifest of the previous object, so it is updated at once.
                note()
    except BaseException:
        if pushed:
            with contextlib.suppress(ModelError):
                note()
        raise
    manifest = note()
    out.write(f"manifest.json: {len(manifest.files)} files\n")
    return 0


def _push_one(
    arguments: argparse.Namespace,
    settings: ModelSettings,
    pusher: Pusher,
    source: Path | None,
    entry: PushEntry,
    previous: ModelFile | None,
    out: TextIO,
) -> ModelFile:
    """Push one file and return its manifest entry. `source` is None for a file that stays at its own source."""
    if source is None:
        file = _describe_remote(arguments, entry, settings)
        out.write(f"{entry.path}: stays at its source\n")
        return file
    described = describe(source, entry)
    if previous is not None and is_stored_elsewhere(described, previous) and not arguments.upload:
        out.write(f"{entry.path}: stays at its source; use --upload to copy it to the bucket\n")
        return replace(described, source=previous.source)
    file, sent = pusher.upload(source, described)
    out.write(f"{entry.path}: {'pushed' if sent else 'already there'}, {file.size} bytes\n")
    return file


def _remove(arguments: argparse.Namespace, settings: ModelSettings, out: TextIO) -> int:
    pusher = Pusher(_bucket(settings), settings.timeouts, BucketClient)
    manifest = pusher.update_manifest(lambda before: without_entries(before, arguments.paths))
    out.write(f"manifest.json: {len(manifest.files)} files; the objects stay in the bucket\n")
    return 0


def _list(_: argparse.Namespace, settings: ModelSettings, out: TextIO) -> int:
    manifest = _manifest(settings)
    for file in manifest.files.values():
        groups = ",".join(file.groups) or "lazy"
        kind = file.to_wire()["source"]
        where = kind["kind"] if isinstance(kind, dict) else ""
        out.write(f"{file.path}\t{file.size}\t{groups}\t{file.priority}\t{where}\t{file.sha256}\n")
    total = sum(file.size for file in manifest.files.values())
    out.write(f"{len(manifest.files)} files, {total} bytes\n")
    return 0


def _verify(arguments: argparse.Namespace, settings: ModelSettings, out: TextIO) -> int:
    manifest = _manifest(settings)
    tree = LocalTree(settings.folder, lambda: 0)
    tree.open()
    try:
        findings = verify_files(tree, manifest.files.values(), arguments.full)
    finally:
        tree.close()
    wrong = [finding for finding in findings if finding.state != "ok"]
    for finding in wrong:
        out.write(f"{finding.file.path}: {finding.state}\n")
    out.write(f"{len(findings) - len(wrong)} of {len(findings)} files ok\n")
    return EXIT_FAILED if wrong else 0


def _pull(arguments: argparse.Namespace, settings: ModelSettings, out: TextIO) -> int:
    if not settings.enabled:
        raise ModelError("bad_setting", "set MODELS_BUCKET, its endpoint and credentials, or MODELS_MANIFEST")
    sync = ModelSync(settings, Log(sys.stderr))
    sync.open()
    try:
        sync.load_manifest()
        selected = _select_files(sync.manifest, arguments.paths, arguments.group)
        with sync.pinned(selected):
            batch = sync.request(selected, Urgency.JOB)
            errors = asyncio.run(_wait(batch, out if arguments.progress else None))
            if not arguments.no_volume:
                sync.copy_to_volume()
            if arguments.baked:
                sync.tree.mark_baked(file.path for file in selected)
    finally:
        sync.close()
    for error in errors:
        out.write(f"{error.code}: {error.message}\n")
    out.write(f"{len(selected) - len(errors)} of {len(selected)} files present, {len(batch.present)} of them before\n")
    return EXIT_FAILED if errors else 0


async def _wait(batch: Batch, out: TextIO | None) -> list[ModelError]:
    left = {asyncio.wrap_future(future) for future in batch.futures()}
    errors: list[ModelError] = []
    while left:
        done, left = await asyncio.wait(left, timeout=1.0)
        errors += [error for future in done if isinstance(error := future.exception(), ModelError)]
        if out is not None:
            out.write(_progress_line(batch.progress()) + "\n")
            out.flush()
    return errors


def _progress_line(progress: Progress) -> str:
    share = 100 * progress.done_bytes // max(1, progress.total_bytes)
    return f"{share}% {progress.done_bytes}/{progress.total_bytes} bytes, {progress.done_files}/{progress.total_files}"


def _select_files(manifest: Manifest, paths: Sequence[str], group: str | None) -> list[ModelFile]:
    for path in paths:
        if path not in manifest.files:
            raise ModelError("model_unknown", f"{path} is not in the manifest", path)
    if paths:
        return [manifest.files[path] for path in paths]
    if group is None:
        return list(manifest.files.values())
    files = manifest.in_group(group)
    if not files:
        known = sorted({name for file in manifest.files.values() for name in file.groups})
        raise ModelError("model_unknown", f"the manifest has no group {group!r}; its groups are {known}")
    return files


def _manifest(settings: ModelSettings) -> Manifest:
    if settings.manifest is not None:
        try:
            return Manifest.parse(settings.manifest.read_bytes())
        except OSError as error:
            raise ModelError("manifest_missing", f"MODELS_MANIFEST cannot be read: {error}") from error
    bucket = _bucket(settings)
    found = BucketClient(bucket, settings.timeouts).get(MANIFEST_KEY)
    if found is None:
        raise ModelError("manifest_missing", f"the bucket {bucket.name} has no manifest.json: run `models push`")
    return Manifest.parse(found.body)


def _bucket(settings: ModelSettings) -> Bucket:
    if settings.bucket is None:
        raise ModelError("bad_setting", "set MODELS_BUCKET, MODELS_ENDPOINT_URL and the credentials")
    return settings.bucket


def _sources(arguments: argparse.Namespace, settings: ModelSettings) -> list[tuple[Path | None, str]]:
    """The files to push, as (file on disk, path in the bucket)."""
    if arguments.hf or arguments.url:
        if not arguments.to or arguments.sources:
            raise ModelError("bad_setting", "--hf and --url need --to <category>/<file>, and no file argument")
        return [(None, arguments.to)]
    found: list[tuple[Path | None, str]] = []
    for given in arguments.sources or [str(settings.folder)]:
        source = Path(given)
        if source.is_dir():
            found += [
                (path, path.relative_to(source).as_posix())
                for path in sorted(source.rglob("*"))
                if path.is_file() and _is_pushable(path.relative_to(source), arguments.allow_unsafe)
            ]
        elif arguments.to:
            found.append((source, arguments.to))
        else:
            found.append((source, f"{source.absolute().parent.name}/{source.name}"))
    if arguments.to and len(found) != 1:
        raise ModelError("bad_setting", "--to needs exactly one file")
    if not found:
        raise ModelError("bad_setting", "found nothing to push; expected <category>/<file> in an accepted format")
    return found


def _is_pushable(path: Path, allow_unsafe: bool) -> bool:
    left = any(part.startswith(".") for part in path.parts) or path.parts[0].casefold() in CODE_FOLDERS
    return not left and len(path.parts) > 1 and (allow_unsafe or path.suffix.lower() in PLAIN_SUFFIXES)


def _describe_remote(arguments: argparse.Namespace, entry: PushEntry, settings: ModelSettings) -> ModelFile:
    if arguments.url:
        return describe_url(arguments.url, arguments.size, arguments.sha256 or "", entry)
    repo, _, rest = str(arguments.hf).partition(":")
    file, _, revision = rest.partition("@")
    if not file:
        raise ModelError("bad_setting", "--hf: must be <owner>/<name>:<file>[@<revision>]")
    return describe_hub_file(FromHub(repo, file, revision or "main"), entry, settings)


def _entry(arguments: argparse.Namespace, path: str) -> PushEntry:
    groups = () if arguments.no_group else tuple(arguments.group) if arguments.group else None
    return PushEntry(path, groups, arguments.priority, arguments.allow_unsafe)


_COMMANDS = {"push": _push, "remove": _remove, "list": _list, "verify": _verify, "pull": _pull}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
