"""Runs pip, shows one line of progress, and turns its failures into sentences."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .disk import disk_full_refusal
from .places import ROOT, generated_folder
from .refusal import Refusal

DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
NO_NETWORK = re.compile(
    r"name resolution|Name or service not known|NameResolutionError|NewConnectionError|ConnectTimeoutError"
    r"|ReadTimeoutError|Max retries exceeded|Network is unreachable|Connection refused|ProxyError|SSLError"
    r"|ConnectionResetError|Connection aborted|IncompleteRead|There was a problem confirming the ssl"
)
NOT_OFFERED = re.compile(r"No matching distribution found for (\S+)")

# Settings of the caller that would install somewhere else than into the environment.
REDIRECTING = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIREMENT", "PIP_CONSTRAINT")


def run_pip(python: Path, arguments: Sequence[str], purpose: str, lock: int) -> None:
    """Runs `pip <arguments>` and raises Refusal when it fails; the whole output is kept in .host/pip.log.

    The child inherits the lock (see lock.exclusive). Downloads are unpacked beside the environment, because
    a small /tmp would not hold them and because only this disk was checked for space.
    """
    log = generated_folder() / "pip.log"
    with tempfile.TemporaryDirectory(prefix="pip-", dir=generated_folder()) as scratch:
        environment = {name: value for name, value in os.environ.items() if name not in REDIRECTING}
        environment |= {"TMPDIR": scratch, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
        process = subprocess.Popen(
            [str(python), "-I", "-m", "pip", *arguments, "--progress-bar", "off"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=(lock,),
        )
        assert process.stdout is not None
        lines = []
        try:
            with log.open("w", encoding="utf-8") as record:
                for line in process.stdout:
                    lines.append(line)
                    record.write(line)
                    show_progress(purpose, line)
        finally:
            if process.poll() is None:
                process.terminate()
            status = process.wait()
            end_progress()
    if status != 0:
        raise explain("".join(lines), purpose, log)


def explain(output: str, purpose: str, log: Path) -> Refusal:
    """The sentence for what pip printed before it gave up."""
    if DISK_FULL.search(output):
        return disk_full_refusal(ROOT)
    if NO_NETWORK.search(output):
        return Refusal(
            f"{purpose} needs the network, and pip cannot reach its package index. Connect this machine, or "
            "name a proxy (HTTPS_PROXY) or a mirror (PIP_INDEX_URL), and run the command again: it goes on "
            f"from where it stopped. pip's own words are in {log}."
        )
    absent = NOT_OFFERED.search(output)
    if absent:
        return Refusal(
            f"{purpose} failed: the package index offers no {absent[1]} for this Python and platform. "
            f"If you use a mirror, it may be incomplete. pip's own words are in {log}."
        )
    tail = " / ".join(line.strip() for line in output.splitlines()[-3:] if line.strip())
    return Refusal(f"{purpose} failed. pip ended with: {tail}. The whole output is in {log}.")


def show_progress(purpose: str, line: str) -> None:
    """On a terminal, one line that is written over; elsewhere only what takes long."""
    words = line.split()
    if words[:1] not in (["Collecting"], ["Downloading"], ["Installing"]):
        return
    what = " ".join(words[:2] + words[-2:]) if words[0] == "Downloading" else " ".join(words[:2])
    if words[0] == "Installing":
        what = "unpacking"
    if sys.stderr.isatty():
        print(f"\r\033[K  {what[:90]}", end="", file=sys.stderr, flush=True)
    elif words[0] == "Installing":
        print(f"  {what}", file=sys.stderr, flush=True)


def end_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
