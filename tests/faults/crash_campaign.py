"""The crash campaign: `kill -9` at a random moment under load from real clients, restart, check; again and again.

    python -m tests.faults.crash_campaign --runs 100 --seed 1 --state crash.json

One run is one judged restart, some with several kills; RUNS_PER_DIRECTORY of them share a data directory. A finding
ends the campaign with exit code 1; it names the directory's seed, and data, broker log and histories are kept. With
`--state` the campaign goes on where the last one with this file ended: `--runs` is the number to reach.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from tests.faults.crash_directory import Plan, Verdict, runs_of
from tests.support.server_process import ServerError

RUNS_PER_DIRECTORY: Final = 5
"""Enough that checkpoints, old segments and stored groups pile up; few enough that a finding is young."""

PROBLEMS_SHOWN_MAX: Final = 10


class State(msgspec.Struct):
    """What a campaign has done so far: the contents of the state file."""

    seed: str
    directories: int = 0
    runs: int = 0
    kills: int = 0
    acknowledged: int = 0
    findings: int = 0
    seconds: float = 0.0
    slowest_recovery_s: float = 0.0
    moments: dict[str, int] = {}

    def count(self, verdict: Verdict) -> None:
        """Add one run."""
        self.runs += 1
        self.kills += verdict.kills
        self.acknowledged += verdict.acknowledged
        self.findings += bool(verdict.problems)
        self.slowest_recovery_s = max(self.slowest_recovery_s, verdict.recovery_s)
        moment = str(verdict.kill.moment)
        self.moments[moment] = self.moments.get(moment, 0) + 1

    def summary(self) -> str:
        """Return the figures in one line."""
        moments = ", ".join(f"{count} {moment}" for moment, count in Counter(self.moments).most_common())
        return (
            f"{self.runs} runs ({moments}), {self.kills} kills, {self.directories} directories, "
            f"{self.acknowledged} records acknowledged, {self.findings} findings; slowest recovery "
            f"{self.slowest_recovery_s:.1f} s; {self.seconds:.0f} s; seed {self.seed}"
        )


def main() -> None:
    """Run the campaign of the command line."""
    arguments = _parse_arguments()
    state = _load(arguments.state, arguments.seed)
    # Ended from outside, it takes its broker and its clients with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while state.runs < arguments.runs and not state.findings:
            for line in campaign_directory(state, min(RUNS_PER_DIRECTORY, arguments.runs - state.runs)):
                print(line, flush=True)
            if arguments.state is not None:
                arguments.state.write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
    except KeyboardInterrupt:
        print("stopped")
    print(state.summary())
    sys.exit(1 if state.findings else 0)


def campaign_directory(state: State, runs: int) -> Iterator[str]:
    """Do the next directory of a campaign and add it to `state`; yields the lines to report."""
    seed = f"{state.seed}/{state.directories}"
    path = Path(tempfile.mkdtemp(prefix="crash-"))
    findings, began = state.findings, time.monotonic()
    try:
        for verdict in runs_of(Plan.draw(seed, runs), path):
            state.count(verdict)
            yield _line(state.runs, seed, verdict)
            yield from (f"    {problem}" for problem in verdict.problems[:PROBLEMS_SHOWN_MAX])
    except ServerError as error:
        state.findings += 1
        yield f"directory {seed}: FINDING before the first kill: {error}"
    state.directories += 1
    state.seconds += time.monotonic() - began
    if state.findings > findings:
        yield f"kept: {path} (seed {seed})"
    else:
        shutil.rmtree(path)


def _line(number: int, seed: str, verdict: Verdict) -> str:
    kills = "" if verdict.kills == 1 else f", {verdict.kills} kills"
    judgement = f"{len(verdict.problems)} FINDINGS" if verdict.problems else "ok"
    return (
        f"run {number} (directory {seed}, run {verdict.number + 1}): killed {verdict.kill.moment}{kills}, answering "
        f"again after {verdict.recovery_s:.2f} s, {verdict.acknowledged} records acknowledged: {judgement}"
    )


def _load(path: Path | None, seed: str) -> State:
    if path is None or not path.exists():
        return State(seed=seed)
    state = msgspec.json.decode(path.read_bytes(), type=State)
    if state.seed != seed:
        sys.exit(f"{path} belongs to a campaign with seed {state.seed}; continue that one or name another file")
    # A finding is reported by the campaign that found it; whoever goes on has looked at it.
    state.findings = 0
    return state


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crash_campaign", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=100, help="runs to reach (default: 100)")
    parser.add_argument("--seed", default="1", help="any text; the same one draws the same plans (default: 1)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="where the figures are kept, to go on later")
    return parser.parse_args()


if __name__ == "__main__":
    main()
