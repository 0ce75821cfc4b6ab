"""The S3 protocol as aws-cli and rclone speak it, unmodified."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from tests.storage.s3.conftest import S3Server

MiB = 1024 * 1024


def fill(folder: Path) -> dict[str, str]:
    """A few files, one of them in several parts; their digests by name."""
    contents = {
        "a.txt": b"hello",
        "empty": b"",
        "deep/er/ü b+c.bin": bytes(range(256)) * 40,
        "big.bin": os.urandom(17 * MiB),
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def run(*command: str, environment: dict[str, str]) -> str:
    """Output of a program that must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        # The machine's own AWS settings are not meant for this server.
        env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    text = output.decode()
    assert process.returncode == 0, text
    return text


@pytest.mark.skipif(shutil.which("aws") is None, reason="aws-cli is not installed")
async def test_aws_cli(server: S3Server, tmp_path: Path) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": "local",
        "AWS_ENDPOINT_URL_S3": server.endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    here, there = tmp_path / "here", tmp_path / "there"
    sums = fill(here)
    url = f"s3://{server.name('aws')}"

    async def aws(*arguments: str) -> str:
        return await run("aws", *arguments, environment=environment)

    await aws("s3", "mb", url)
    await aws("s3", "sync", str(here), f"{url}/dir", "--only-show-errors")
    assert await aws("s3", "sync", str(here), f"{url}/dir") == ""
    assert "PRE deep/" in await aws("s3", "ls", f"{url}/dir/")
    await aws("s3", "mv", f"{url}/dir/big.bin", f"{url}/dir/moved.bin", "--only-show-errors")
    await aws("s3", "sync", f"{url}/dir", str(there), "--only-show-errors")
    sums["moved.bin"] = sums.pop("big.bin")
    assert digests(there) == sums
    await aws("s3", "rb", url, "--force")


@pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")
async def test_rclone(server: S3Server, tmp_path: Path) -> None:
    environment = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_OURS_TYPE": "s3",
        "RCLONE_CONFIG_OURS_PROVIDER": "Other",
        "RCLONE_CONFIG_OURS_ACCESS_KEY_ID": server.access_key,
        "RCLONE_CONFIG_OURS_SECRET_ACCESS_KEY": server.secret_key,
        "RCLONE_CONFIG_OURS_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_OURS_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG_OURS_CHUNK_SIZE": "5Mi",
        "RCLONE_CONFIG_OURS_UPLOAD_CUTOFF": "6Mi",
        "RCLONE_S3_COPY_CUTOFF": "10Mi",
        "RCLONE_RETRIES": "1",
    }
    here, there = tmp_path / "here", tmp_path / "there"
    sums = fill(here)
    root = f"ours:{server.name('rclone')}"

    async def rclone(*arguments: str) -> str:
        return await run("rclone", *arguments, environment=environment)

    await rclone("mkdir", root)
    await rclone("sync", str(here), f"{root}/dir")
    await rclone("check", str(here), f"{root}/dir")
    await rclone("check", "--download", str(here), f"{root}/dir")
    listed = await rclone("lsf", "-R", root)
    assert "dir/deep/er/ü b+c.bin" in listed.splitlines()
    await rclone("copyto", f"{root}/dir/big.bin", f"{root}/big2.bin")
    await rclone("moveto", f"{root}/big2.bin", f"{root}/dir/moved.bin")
    await rclone("sync", f"{root}/dir", str(there))
    assert digests(there) == {**sums, "moved.bin": sums["big.bin"]}
    (here / "a.txt").write_bytes(b"changed")
    await rclone("sync", str(here), f"{root}/dir")
    assert await rclone("cat", f"{root}/dir/a.txt") == "changed"
    assert "moved.bin" not in await rclone("lsf", f"{root}/dir")
    await rclone("purge", root)
    assert root.removeprefix("ours:") not in await rclone("lsd", "ours:")
