"""`kafscale broker`: run one broker until it is told to stop."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafscale.cli.errors import CommandError

if TYPE_CHECKING:
    from kafscale.config import Loaded

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9092

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration file: properties, or TOML (.toml).")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated.")
]
DataDirOption = Annotated[str | None, typer.Option("--data-dir", help="Directory of everything the broker keeps.")]
HostOption = Annotated[str | None, typer.Option("--host", help=f"Address to listen on (default {DEFAULT_HOST}).")]
PortOption = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help=f"Port to listen on (default {DEFAULT_PORT}).")
]


def broker(
    config: ConfigOption = None,
    settings: SetOption = None,
    data_dir: DataDirOption = None,
    host: HostOption = None,
    port: PortOption = None,
) -> None:
    """Run a broker. With nothing configured it keeps its data in ./data and listens on 127.0.0.1:9092."""
    loaded = load(config, settings or [], data_dir, host, port)

    from kafscale.cli.wiring import run_broker

    run_broker(loaded)


def load(
    config: Path | None, settings: list[str], data_dir: str | None, host: str | None, port: int | None
) -> "Loaded":
    """Return the settings of the file, the environment and these command-line arguments."""
    from kafscale.config import load_settings, parse_overrides

    overrides = parse_overrides(settings)
    if data_dir is not None:
        overrides["data.dir"] = data_dir
    if host is not None or port is not None:
        if "listeners" in overrides:
            raise CommandError("--host and --port contradict --set listeners=...: use one of them")
        overrides["listeners"] = _listener(host or DEFAULT_HOST, DEFAULT_PORT if port is None else port)
    return load_settings(config, os.environ, overrides)


def _listener(host: str, port: int) -> str:
    return f"PLAINTEXT://[{host}]:{port}" if ":" in host else f"PLAINTEXT://{host}:{port}"
