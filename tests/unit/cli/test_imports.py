"""What starting a command loads: the first acknowledged record must not wait for a Kafka client."""

import subprocess
import sys

HEAVY = ("kafka", "rich", "confluent_kafka", "asyncio")


def test_command_line_loads_nothing_heavy() -> None:
    program = (
        "import sys, kafscale.cli.main\n"
        "from kafscale.cli.broker import load\n"
        "load(None, [], None, None, None)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
