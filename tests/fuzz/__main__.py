"""A long run of the fuzz targets: `make fuzz ARGS="--seconds 600 dns_responses"`.

With atheris installed (CPython on Linux) the inputs that reach new code are kept in build/fuzz and
changed further; without it all inputs are changes of the seeds. A finding is saved as
build/fuzz/<target>/finding-<hash>, reduced if possible; once it is mended, it becomes a seed.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random

from tests.fuzz.mutations import mutate
from tests.fuzz.running import CORPUS, Finding, mutations_of, seeds_of, try_input

BUILD = Path("build/fuzz")
INSTRUMENTED = ["engine", "adapters", "gateway"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    names = sorted(folder.name for folder in CORPUS.iterdir())
    parser.add_argument(
        "target", nargs="*", help=f"one of {', '.join(names)}; all if none is given"
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.disable(logging.ERROR)
    if args.here:
        return _fuzz(args.target[0], args.seconds)
    failed = []
    for name in args.target or names:
        print(f"== {name}", flush=True)  # noqa: T201
        # libFuzzer ends the process that it runs in
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--here",
            "--seconds",
            str(args.seconds),
            name,
        ]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"findings in: {', '.join(failed) or 'none'}")  # noqa: T201
    return bool(failed)


def _fuzz(name: str, seconds: int) -> int:
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if find_spec("atheris"):
            _fuzz_by_coverage(name, seconds, folder)
        else:
            _fuzz_at_random(name, seconds)
    except Finding as finding:
        _save(finding, folder)
        return 1
    return 0


def _save(finding: Finding, folder: Path) -> None:
    file = folder / f"finding-{hashlib.sha256(finding.data).hexdigest()[:12]}"
    file.write_bytes(finding.data)
    print(f"{finding}\nsaved as {file}", flush=True)  # noqa: T201


def _fuzz_at_random(name: str, seconds: int) -> None:
    from tests.fuzz.targets import TARGETS

    target, until, count = TARGETS[name], time.monotonic() + seconds, 0
    for data in mutations_of(seeds_of(name), Random(), target.max_bytes):
        try_input(name, target.run, data)
        count += 1
        if time.monotonic() > until:
            break
    print(f"{count:,} inputs, no finding")  # noqa: T201


def _fuzz_by_coverage(name: str, seconds: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        return mutate(data, random)[:max_size]

    def run(data: bytes) -> None:
        try:
            try_input(name, target.run, data)
        except Finding as finding:
            _save(finding, folder)
            raise

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={target.max_bytes}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup(
        [sys.argv[0], *options, str(corpus), str(CORPUS / name)],
        run,
        custom_mutator=change,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
