"""One measured download, in its own process: `clients.py <client> <url> <folder> <what>`; `<what>` is big or small.

run.py runs this. Prints `<seconds> <cpu seconds> <peak RSS in bytes>` of the client.
"""

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

TOOLS = Path(sys.executable).parent
BIG = "checkpoints/big.safetensors"
CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", "16"))
"""Connections of every client that has such an option."""


def ours(url: str, folder: Path, what: str) -> None:
    """Verifies the SHA-256 of every chunk, and keeps an index."""
    from concurrent.futures import wait

    from worker_gpu.log import Log
    from worker_gpu.models.download.priority import Urgency
    from worker_gpu.models.settings import Bucket, Credentials, ModelSettings
    from worker_gpu.models.sync import ModelSync

    bucket = Bucket(url, "models", Credentials("local", "local-secret"))
    sync = ModelSync(ModelSettings(folder, bucket, connections=CONNECTIONS, min_free_bytes=0), Log(sys.stderr))
    sync.open()
    sync.load_manifest()
    wanted = [file for file in sync.manifest.files.values() if (file.path == BIG) == (what == "big")]
    batch = sync.request(wanted, Urgency.JOB)
    wait(batch.futures())
    for future in batch.futures():
        future.result()
    sync.close()


def boto3(url: str, folder: Path, what: str, tuned: bool = False) -> None:
    """Verifies nothing: R2 has no checksum of a whole multipart object."""
    from concurrent.futures import ThreadPoolExecutor

    from boto3 import client
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    s3 = client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="local",
        aws_secret_access_key="local-secret",  # noqa: S106
        region_name="auto",
        verify=os.environ.get("SSL_CERT_FILE"),
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=CONNECTIONS + 10),
    )
    chosen = (
        TransferConfig(max_concurrency=CONNECTIONS, multipart_chunksize=32 << 20, io_chunksize=1 << 20)
        if tuned
        else TransferConfig()
    )
    keys = (
        [BIG]
        if what == "big"
        else [one["Key"] for one in s3.list_objects_v2(Bucket="models", Prefix="loras/")["Contents"]]
    )

    def fetch(key: str) -> None:
        target = folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file("models", key, str(target), Config=chosen)

    with ThreadPoolExecutor(16 if tuned else 1) as pool:
        list(pool.map(fetch, keys))


def rclone(url: str, folder: Path, what: str) -> None:
    """Without a checksum."""
    remote = f":s3,provider=Other,access_key_id=local,secret_access_key=x,force_path_style=true,endpoint='{url}':models"
    shared = [
        "--config",
        os.devnull,
        "--ignore-checksum",
        "--no-check-certificate",
        "--multi-thread-streams",
        str(CONNECTIONS),
    ]
    place = (
        ["copyto", f"{remote}/{BIG}", str(folder / BIG)]
        if what == "big"
        else ["copy", f"{remote}/loras", str(folder / "loras"), "--transfers", "16"]
    )
    subprocess.run([str(TOOLS / "rclone"), *shared, *place], check=True)  # noqa: S603


def s5cmd(url: str, folder: Path, what: str) -> None:
    """Without a checksum."""
    shared = ["--no-verify-ssl", "--log", "error", "--endpoint-url", url, "cp", "--concurrency", str(CONNECTIONS)]
    place = [f"s3://models/{BIG}", str(folder / BIG)] if what == "big" else ["s3://models/loras/*", f"{folder}/loras/"]
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
    subprocess.run([str(TOOLS / "s5cmd"), *shared, *place], check=True, env={**os.environ, **keys})  # noqa: S603


def obstore(url: str, folder: Path, _what: str) -> None:
    """Reads with Rust and hashes here: the same work as ours, without index, retries and resuming. Only the big
    file."""
    import hashlib
    from concurrent.futures import ThreadPoolExecutor

    import obstore as library
    from obstore.store import S3Store

    store = S3Store(
        "models",
        endpoint=url,
        access_key_id="local",
        secret_access_key="local-secret",  # noqa: S106
        region="auto",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "allow_invalid_certificates": True, "timeout": "120s"},
    )
    size = library.head(store, BIG)["size"]
    chunk = 64 << 20
    fd = os.open(folder / "big", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, size)

    def fetch(first: int) -> str:
        digest, at = hashlib.sha256(), first
        for piece in library.get(store, BIG, options={"range": (first, min(first + chunk, size))}).stream(1 << 20):
            data = memoryview(piece)
            digest.update(data)
            os.pwrite(fd, data, at)
            at += len(data)
        return digest.hexdigest()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(fetch, range(0, size, chunk)))


def boto3_tuned(url: str, folder: Path, what: str) -> None:
    """16 files at once, in parts of 32 MiB over `CONNECTIONS` connections."""
    boto3(url, folder, what, tuned=True)


CLIENTS = {
    "ours": ours,
    "boto3": boto3,
    "boto3-tuned": boto3_tuned,
    "rclone": rclone,
    "s5cmd": s5cmd,
    "obstore": obstore,
}


def main() -> None:
    name, url, folder, what = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    began = time.perf_counter()
    CLIENTS[name](url, folder, what)
    seconds = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    # By /proc: getrusage of this process also counts the program that started it.
    own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    peak = used[1].ru_maxrss if name in ("rclone", "s5cmd") else int(own[1]) if own else 0
    print(f"{seconds} {cpu} {peak * 1024}")  # noqa: T201 -- the result


if __name__ == "__main__":
    main()
