"""The command `kafscale`: its sub-commands, and what a person sees when one of them fails.

Modules that a command needs are imported when it runs, so that `kafscale broker` does not wait for a Kafka client and
`kafscale topic` not for a broker. A failure is one line on stderr and exit code 1; wrong usage is exit code 2.
"""

import os
import sys

import typer

from kafscale.cli import broker, config, consume, group, produce, topic
from kafscale.cli.errors import CommandError
from kafscale.errors import ConfigurationError, StartRefused

app = typer.Typer(
    name="kafscale",
    help="A Kafka broker whose records live in object storage, and the tools to use it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("broker")(broker.broker)
app.add_typer(topic.app, name="topic")
app.command("produce")(produce.produce)
app.command("consume")(consume.consume)
app.add_typer(group.app, name="group")
app.add_typer(config.app, name="config")


@app.command()
def version() -> None:
    """Print the version."""
    import platform

    from kafscale import __version__

    print(f"kafscale {__version__} (Python {platform.python_version()})")


def main() -> None:
    """Run the command line of this process and exit."""
    try:
        app()
    except (CommandError, ConfigurationError, StartRefused) as error:
        _fail(str(error))
    except BrokenPipeError:
        # Whoever read our output has enough: `kafscale consume | head`. Nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(str(error))


def _fail(message: str) -> None:
    print(f"kafscale: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)
