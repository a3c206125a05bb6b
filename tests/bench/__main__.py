"""`python -m tests.bench [workload …]`: runs, prints one table, writes JSON."""

import argparse
import gc
import json
import os
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.environment import environment
from tests.bench.figures import Figure, Figures, table
from tests.bench.wires import InvalidRun

WORKLOADS = ("fanout", "rooms", "ingest", "idle", "history", "login", "lists", "start", "day", "lone", "processes")
RUNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures the server; see README.md.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; all if none")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how often each is run; the median counts ({RUNS})")
    parser.add_argument("--quick", action="store_true", help="one short run: does it work?")
    parser.add_argument("--growth", action="store_true", help="how costs grow, instead")
    parser.add_argument("--prices", action="store_true", help="what the guarantees of an append cost, instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all runs there")
    args = parser.parse_args()
    if unknown := set(args.workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    instead = [name for name in ("growth", "prices") if getattr(args, name)]
    names = instead or args.workloads or list(WORKLOADS)
    machine.open_many_files()
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    gc.disable()  # a collection would delay what the load reads; it leaves few cycles behind
    everything: list[Figure] = []
    data: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds")}
    for name in names:
        began, found = time.monotonic(), Figures()
        with environment() as env:
            data.update(machine.facts(env.version))
            try:
                import_module(f"tests.bench.{name}").run(
                    env, found, runs=1 if args.quick else args.runs, quick=args.quick
                )
            except InvalidRun as reason:
                found.of(f"INVALID, and what would have followed: {reason}")
        figures = list(found)
        for figure in figures:
            figure.what = f"{name}: {figure.what}"
        everything += figures
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    for key, value in data.items():
        print(f"{key}: {value}")
    print(f"\n{table(everything)}")
    if args.json:
        data["figures"] = [figure.as_json() for figure in everything]
        args.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if any(not figure.runs for figure in everything):
        sys.exit(1)


if __name__ == "__main__":
    main()
