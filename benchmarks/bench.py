"""Speed and memory of everything that users wait for; what `make bench` runs.

    python benchmarks/bench.py [--quick] [--only lite vit-l-14-336 startup] [--minutes 4] [--output out/bench]
        [--docs docs/performance.md]

Prints one table, and writes `bench.json` and plots. Every measurement runs in a process of its own (`measure.py`), so
that peaks of memory are its own. Ratios alternate between the two sides in one process, because machines are shared
and their clocks wander; single timings say less than ratios.

What `bench.json` in the output folder already holds is not measured again: a run that was stopped goes on where it
was, and `--minutes` measures in pieces. For fresh figures name another folder, or delete the file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from steps import FULL, LITE, METRICS, STARTUP, Record, all_steps
from table import OTHERS, as_markdown, rows, summarise

if TYPE_CHECKING:
    from steps import Step

START, END = "<!-- table: start -->", "<!-- table: end -->"


def main() -> int:
    """Measure what is missing, print it and write it; 3 if time ran out before all of it was measured."""
    options = parse_options()
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / "bench.json"
    record: Record = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    record.setdefault("machine", machine())
    steps = [step for step in all_steps(quick=options.quick) if step.place[0] in (options.only or step.place[0])]
    missing = [step for step in steps if not is_measured(record, step, options.quiet_below)]
    started, left = time.monotonic(), len(missing)
    for step in missing:
        if options.minutes is not None and time.monotonic() - started > 60 * options.minutes:
            print(f"{left} of {len(steps)} steps are left; run the same command again", file=sys.stderr)
            return 3
        measure(record, step)
        summarise(record)
        target.write_text(json.dumps(record, indent=2), encoding="utf-8")
        left -= 1
    print_table(record)
    from plots import write_plots

    write_plots(record, options.output)
    if options.docs is not None:
        put_into(options.docs, record)
    print(f"\nwritten to {options.output}")
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure speed and memory.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, sizes and slices")
    parser.add_argument(
        "--only", nargs="+", choices=[LITE, FULL, STARTUP, METRICS], help="parts to measure; all by default"
    )
    parser.add_argument("--minutes", type=float, help="start nothing new after so many minutes; the rest later")
    parser.add_argument(
        "--quiet-below",
        type=float,
        metavar="CORES",
        help="measure again what was measured while others used this many cores or more, and keep the calmer one",
    )
    parser.add_argument("--docs", type=Path, help="a Markdown file with two marks, between which the table goes")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="folder of bench.json and the plots")
    options = parser.parse_args()
    options.output = options.output.resolve()
    return options


def is_measured(record: Record, step: Step, quiet_below: float | None = None) -> bool:
    """Whether an earlier run has measured a step, and on a machine as quiet as asked for."""
    part, question, case = step.place
    answers = record.get(part, {}).get(question, {})
    return case in answers and (quiet_below is None or answers[case].get(OTHERS, 0.0) < quiet_below)


def measure(record: Record, step: Step) -> None:
    """Measure one step and put it into the record, with how busy the machine was meanwhile."""
    part, question, case = step.place
    print(f"measuring {part}: {question}, {case}", file=sys.stderr, flush=True)
    before, started = used_by_others(), time.perf_counter()
    result = step.run()
    if not math.isnan(before):
        result[OTHERS] = round((used_by_others() - before) / (time.perf_counter() - started), 2)
    answers = record.setdefault(part, {}).setdefault(question, {})
    earlier = answers.get(case, {"failed": ""})
    if "failed" in earlier or ("failed" not in result and result.get(OTHERS, 0.0) <= earlier.get(OTHERS, 0.0)):
        answers[case] = result


def used_by_others() -> float:
    """Seconds of processor time spent so far by all but this process and its children; NaN but on Linux."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return math.nan
    user, nice, system, _, _, interrupts, soft = map(int, stat.read_text(encoding="ascii").split()[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def machine() -> Record:
    """Describe the machine."""
    import torch

    from moeclip_med.engines.machine import processor_name

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def print_table(record: Record) -> None:
    """Print one table of what was measured."""
    lines = rows(record)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for index, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if index == 0:
            print("  ".join("-" * width for width in widths))


def put_into(document: Path, record: Record) -> None:
    """Replace what stands between the marks of a document by the table."""
    text = document.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    document.write_text(f"{before}{START}\n\n{as_markdown(record)}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
