"""The simulation campaign on the command line.

    python -m tests.simulation --seeds 0-999 --jobs 2 --state campaign.jsonl

Each seed is run twice, and both runs must be the same to the last callback. The exit status is 1 when a seed failed.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

from tests.simulation.campaign import State, Workers, parse_seeds, summary, work
from tests.simulation.mutants import MUTANTS


def main(arguments: list[str]) -> int:
    """Run a campaign; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Run a simulation campaign.")
    parser.add_argument("--seeds", type=parse_seeds, default="0-99", help="first-last, or one seed (default 0-99)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per CPU)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no seed after so many seconds")
    parser.add_argument("--state", type=Path, help="file of results: seeds that are in it are not run again")
    parser.add_argument("--mutant", choices=MUTANTS, default="", help="run this wrong broker, each seed once")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work()
        return 0
    state = State(options.state)
    began_s = time.monotonic()
    seeds = [seed for seed in options.seeds if seed not in state.results]
    with Workers(options.jobs) as workers:
        for result in workers.run(seeds, options.seconds, options.mutant):
            state.add(result)
            if result.failure:
                print(f"seed {result.seed} FAILED after {result.wall_s:.1f} s\n{result.failure}\n", flush=True)
    asked = {seed: state.results[seed] for seed in options.seeds if seed in state.results}
    print(summary(asked, time.monotonic() - began_s))
    return 1 if any(result.failure for result in asked.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
