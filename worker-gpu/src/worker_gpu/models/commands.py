"""`python -m worker_gpu models …`: fill the bucket, and look after a models folder by hand. docs/models.md."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from worker_gpu.log import Log
from worker_gpu.models.bucket import Store
from worker_gpu.models.errors import ModelError
from worker_gpu.models.hub import describe_hub_file, describe_url
from worker_gpu.models.manifest import MANIFEST_KEY, PLAIN_SUFFIXES, FromHub, Manifest, ModelFile
from worker_gpu.models.plan import Urgency
from worker_gpu.models.push import Entry, Pusher, describe, with_entries, without_entries
from worker_gpu.models.settings import Bucket, ModelSettings, read_model_settings
from worker_gpu.models.sync import Batch, ModelSync, Progress
from worker_gpu.models.tree import Tree
from worker_gpu.models.verify import check

EXIT_FAULTS = 1
EXIT_USAGE = 2


def main(argv: Sequence[str], env: Mapping[str, str] | None = None, out: TextIO | None = None) -> int:
    """Runs one command. Exit code: 0, 1 when a model could not be had or is wrong, 2 for a wrong call or setting."""
    shown = out or sys.stdout
    arguments = _parser().parse_args(list(argv))
    try:
        settings = read_model_settings(os.environ if env is None else env)
        return _COMMANDS[arguments.command](arguments, settings, shown)
    except ModelError as error:
        shown.write(f"{error.code}: {error.message}\n")
        return EXIT_USAGE if error.code == "bad_setting" else EXIT_FAULTS


def _push(arguments: argparse.Namespace, settings: ModelSettings, out: TextIO) -> int:
    bucket = _bucket(settings)
    pusher = Pusher(bucket, settings.patience, Store)
    try:
        files: list[ModelFile] = []
        for source, path in _sources(arguments, settings):
            entry = _entry(arguments, path)
            if source is None:
                files.append(_elsewhere(arguments, entry, settings))
                out.write(f"{path}: stays at its source\n")
                continue
            file, sent = pusher.upload(source, describe(source, entry))
            out.write(f"{path}: {'pushed' if sent else 'already there'}, {file.size} bytes\n")
            files.append(file)
        manifest = pusher.update_manifest(lambda before: with_entries(before, files))
    finally:
        pusher.close()
    out.write(f"manifest.json: {len(manifest.files)} files\n")
    return 0


def _remove(arguments: argparse.Namespace, settings: ModelSettings, out: TextIO) -> int:
    pusher = Pusher(_bucket(settings), settings.patience, Store)
    try:
        manifest = pusher.update_manifest(lambda before: without_entries(before, arguments.paths))
    finally:
        pusher.close()
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
    tree = Tree(settings.folder, lambda: 0)
    tree.open()
    try:
        findings = check(tree, manifest.files.values(), arguments.full)
    finally:
        tree.close()
    wrong = [finding for finding in findings if finding.state != "ok"]
    for finding in wrong:
        out.write(f"{finding.file.path}: {finding.state}\n")
    out.write(f"{len(findings) - len(wrong)} of {len(findings)} files ok\n")
    return EXIT_FAULTS if wrong else 0


def _pull(arguments: argparse.Namespace, settings: ModelSettings, out: TextIO) -> int:
    sync = ModelSync(settings, Log(sys.stderr))
    sync.open()
    try:
        sync.load_manifest()
        wanted = _chosen(sync.manifest, arguments.paths, arguments.group)
        with sync.pinned(file.path for file in wanted):
            batch = sync.want(wanted, Urgency.JOB)
            errors = asyncio.run(_wait(batch, out if arguments.progress else None))
            if not arguments.no_volume:
                sync.keep_on_volume()
            if arguments.baked:
                sync.tree.bake(file.path for file in wanted)
    finally:
        sync.close()
    for error in errors:
        out.write(f"{error.code}: {error.message}\n")
    out.write(f"{len(wanted) - len(errors)} of {len(wanted)} files here, {len(batch.already)} were\n")
    return EXIT_FAULTS if errors else 0


async def _wait(batch: Batch, out: TextIO | None) -> list[ModelError]:
    left = {asyncio.wrap_future(future) for future in batch.futures()}
    errors: list[ModelError] = []
    while left:
        done, left = await asyncio.wait(left, timeout=1.0)
        errors += [error for future in done if isinstance(error := future.exception(), ModelError)]
        if out is not None:
            out.write(_line(batch.progress()) + "\n")
            out.flush()
    return errors


def _line(progress: Progress) -> str:
    share = 100 * progress.done_bytes // max(1, progress.total_bytes)
    return f"{share}% {progress.done_bytes}/{progress.total_bytes} bytes, {progress.done_files}/{progress.total_files}"


def _chosen(manifest: Manifest, paths: Sequence[str], group: str | None) -> list[ModelFile]:
    for path in paths:
        if path not in manifest.files:
            raise ModelError("model_unknown", f"{path} is not in the manifest", path)
    if paths:
        return [manifest.files[path] for path in paths]
    return manifest.in_group(group) if group else list(manifest.files.values())


def _manifest(settings: ModelSettings) -> Manifest:
    if settings.manifest is not None:
        try:
            return Manifest.parse(settings.manifest.read_bytes())
        except OSError as error:
            raise ModelError("manifest_missing", f"MODELS_MANIFEST cannot be read: {error}") from error
    bucket = _bucket(settings)
    store = Store(bucket, settings.patience)
    try:
        answer = store.get(MANIFEST_KEY)
    finally:
        store.close()
    if answer.status == 404:
        raise ModelError("manifest_missing", f"the bucket {bucket.name} has no manifest.json: run `models push`")
    return Manifest.parse(answer.body)


def _bucket(settings: ModelSettings) -> Bucket:
    if settings.bucket is None:
        raise ModelError("bad_setting", "set MODELS_BUCKET, MODELS_ENDPOINT_URL and the credentials")
    return settings.bucket


def _sources(arguments: argparse.Namespace, settings: ModelSettings) -> list[tuple[Path | None, str]]:
    """What to push as (file on disk, path in the bucket)."""
    if arguments.hf or arguments.url:
        if not arguments.to or arguments.sources:
            raise ModelError("bad_setting", "--hf and --url take --to <category>/<file> and no file")
        return [(None, arguments.to)]
    found: list[tuple[Path | None, str]] = []
    for given in arguments.sources or [str(settings.folder)]:
        source = Path(given)
        if source.is_dir():
            found += [
                (path, path.relative_to(source).as_posix())
                for path in sorted(source.rglob("*"))
                if path.is_file() and _may_push(path.relative_to(source), arguments.allow_unsafe)
            ]
        elif arguments.to:
            found.append((source, arguments.to))
        else:
            found.append((source, f"{source.absolute().parent.name}/{source.name}"))
    if arguments.to and len(found) != 1:
        raise ModelError("bad_setting", "--to is for one file")
    return found


def _may_push(path: Path, allow_unsafe: bool) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and len(path.parts) > 1 and (allow_unsafe or path.suffix.lower() in PLAIN_SUFFIXES)


def _elsewhere(arguments: argparse.Namespace, entry: Entry, settings: ModelSettings) -> ModelFile:
    if arguments.url:
        return describe_url(arguments.url, arguments.size, arguments.sha256 or "", entry)
    repo, _, rest = str(arguments.hf).partition(":")
    file, _, revision = rest.partition("@")
    if not file:
        raise ModelError("bad_setting", "--hf: must be <owner>/<name>:<file>[@<revision>]")
    return describe_hub_file(FromHub(repo, file, revision or "main"), entry, settings)


def _entry(arguments: argparse.Namespace, path: str) -> Entry:
    return Entry(path, tuple(arguments.group or ()), arguments.priority, arguments.allow_unsafe)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker_gpu models", description="Models in R2, and here.")
    commands = parser.add_subparsers(dest="command", required=True)
    push = commands.add_parser("push", help="upload files (or a models folder) and add them to the manifest")
    push.add_argument("sources", nargs="*", help="files, or folders of <category>/<file>; default: MODELS_DIR")
    push.add_argument("--to", help="<category>/<file>, for one file")
    push.add_argument("--group", action="append", help="boot, background or a name of yours; may be repeated")
    push.add_argument("--priority", type=int, default=0, help="higher comes first")
    push.add_argument("--allow-unsafe", action="store_true", help="take formats that can hold code")
    push.add_argument("--hf", help="<owner>/<name>:<file>[@<revision>]: fetched from Hugging Face, not uploaded")
    push.add_argument("--url", help="fetched from this URL, not uploaded; needs --size and --sha256")
    push.add_argument("--size", type=int, default=0)
    push.add_argument("--sha256")
    remove = commands.add_parser("remove", help="take files out of the manifest")
    remove.add_argument("paths", nargs="+")
    commands.add_parser("list", help="what the manifest has")
    verify = commands.add_parser("verify", help="compare the folder with the manifest")
    verify.add_argument("--full", action="store_true", help="hash every byte instead of asking stat")
    pull = commands.add_parser("pull", help="fetch files; default: all of them")
    pull.add_argument("paths", nargs="*")
    pull.add_argument("--group")
    pull.add_argument("--progress", action="store_true", help="a line a second")
    pull.add_argument("--no-volume", action="store_true", help="do not copy to the network volume")
    pull.add_argument("--baked", action="store_true", help="for the build of an image: known there without a hash")
    return parser


_COMMANDS = {"push": _push, "remove": _remove, "list": _list, "verify": _verify, "pull": _pull}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
