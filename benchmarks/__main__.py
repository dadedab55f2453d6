"""Run the benchmarks: this broker and a real Apache Kafka side by side, one table with ratios.

    python -m benchmarks [--only NAME] [--repeat N] [--quick] [--write]

Each round starts both servers in empty directories and runs the scenarios on both in turn. Needs Java and Maven.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.arena import FULL, QUICK, Arena
from benchmarks.report import table, write_results
from benchmarks.results import Results
from benchmarks.scenarios import consume, latency, produce, start
from benchmarks.servers import running_pair
from tests.support.server_process import ServerError
from tests.support.toolchain import ToolchainError

ROUNDS: Final = 3

SCENARIOS: Final[dict[str, Callable[[Arena], None]]] = {
    "start": start.measure,
    "latency": latency.measure,
    "produce": produce.measure,
    "consume": consume.measure,
}


def main() -> None:
    """Run what the command line asks for and print the table."""
    arguments = _parse_arguments()
    rounds = arguments.repeat or (1 if arguments.quick else ROUNDS)
    load = os.getloadavg()[0]
    results = Results()
    # Leaves through the context managers, so that both servers are stopped and what was measured is shown.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit("terminated"))
    try:
        for number in range(1, rounds + 1):
            _run_round(number, rounds, arguments, results)
    except (ServerError, ToolchainError) as error:
        sys.exit(str(error))
    finally:
        print(table(results), end="")
    if arguments.write:
        write_results(results, rounds=rounds, load=load)


def _run_round(number: int, rounds: int, arguments: argparse.Namespace, results: Results) -> None:
    size = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="kafscale-bench-", dir=arguments.dir) as scratch:
        directory = Path(scratch)
        with running_pair(directory) as subjects:
            arena = Arena(subjects, directory, size, results)
            for name in arguments.only or SCENARIOS:
                print(f"round {number} of {rounds}: {name}", file=sys.stderr, flush=True)
                SCENARIOS[name](arena)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="run this scenario only; may be repeated")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"rounds to run (default: {ROUNDS}; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a fifth of the load, for a first impression")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    parser.add_argument("--dir", type=Path, help="where the servers keep their data (default: the temporary directory)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
