"""The command-line arguments of `python -m worker_gpu models`."""

import argparse


def parser() -> argparse.ArgumentParser:
    """The parser. `command` is the name of the subcommand."""
    parser = argparse.ArgumentParser(
        prog="python -m worker_gpu models", description="Model files in a bucket and in the models folder."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    push = commands.add_parser("push", help="upload files (or a models folder) and add them to the manifest")
    push.add_argument("sources", nargs="*", help="files, or folders of <category>/<file>; default: MODELS_DIR")
    push.add_argument("--to", help="<category>/<file>, for one file")
    groups = push.add_mutually_exclusive_group()
    groups.add_argument(
        "--group",
        action="append",
        help="boot, background or another name; can be repeated; default: the groups in the manifest",
    )
    groups.add_argument("--no-group", action="store_true", help="remove the file from all groups")
    push.add_argument("--priority", type=int, help="higher comes first; default: the priority in the manifest, or 0")
    push.add_argument("--allow-unsafe", action="store_true", help="accept formats that can contain code")
    push.add_argument(
        "--hf", help="<owner>/<name>:<file>[@<revision>]: workers download it from Hugging Face; nothing is uploaded"
    )
    push.add_argument("--url", help="workers download it from this URL; nothing is uploaded; needs --size and --sha256")
    push.add_argument(
        "--upload", action="store_true", help="upload files that the manifest has from Hugging Face or a URL, too"
    )
    push.add_argument("--size", type=int, default=0)
    push.add_argument("--sha256")
    remove = commands.add_parser("remove", help="remove files from the manifest")
    remove.add_argument("paths", nargs="+")
    commands.add_parser("list", help="list the files of the manifest")
    verify = commands.add_parser("verify", help="compare the models folder with the manifest")
    verify.add_argument("--full", action="store_true", help="hash every byte instead of using stat")
    pull = commands.add_parser("pull", help="download files; default: all files of the manifest")
    pull.add_argument("paths", nargs="*")
    pull.add_argument("--group")
    pull.add_argument("--progress", action="store_true", help="print a line every second")
    pull.add_argument("--no-volume", action="store_true", help="do not copy to the network volume")
    pull.add_argument("--baked", action="store_true", help="for image builds: workers need not hash these files again")
    return parser
