"""The words of `python -m worker_gpu models …`."""

import argparse


def parser() -> argparse.ArgumentParser:
    """Reads them into `command` and what it takes."""
    parser = argparse.ArgumentParser(prog="python -m worker_gpu models", description="Models in R2, and here.")
    commands = parser.add_subparsers(dest="command", required=True)
    push = commands.add_parser("push", help="upload files (or a models folder) and add them to the manifest")
    push.add_argument("sources", nargs="*", help="files, or folders of <category>/<file>; default: MODELS_DIR")
    push.add_argument("--to", help="<category>/<file>, for one file")
    groups = push.add_mutually_exclusive_group()
    groups.add_argument(
        "--group",
        action="append",
        help="boot, background or a name of yours; may be repeated; default: as the manifest has it",
    )
    groups.add_argument("--no-group", action="store_true", help="in none from now on")
    push.add_argument("--priority", type=int, help="higher comes first; default: as the manifest has it, else 0")
    push.add_argument("--allow-unsafe", action="store_true", help="take formats that can hold code")
    push.add_argument("--hf", help="<owner>/<name>:<file>[@<revision>]: fetched from Hugging Face, not uploaded")
    push.add_argument("--url", help="fetched from this URL, not uploaded; needs --size and --sha256")
    push.add_argument("--upload", action="store_true", help="also what the manifest has from Hugging Face or a URL")
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
