"""`kafscale config`: what a broker started like this would use, and the reference of all settings."""

from typing import Annotated

import typer

from kafscale.cli.broker import ConfigOption, DataDirOption, HostOption, PortOption, SetOption, load
from kafscale.cli.output import FormatOption, OutputFormat, show

app = typer.Typer(help="Show the broker's configuration.", no_args_is_help=True)


@app.command("show")
def show_config(
    config: ConfigOption = None,
    settings: SetOption = None,
    data_dir: DataDirOption = None,
    host: HostOption = None,
    port: PortOption = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    form: FormatOption = OutputFormat.TABLE,
) -> None:
    """Print every setting a broker started with the same arguments here would use."""
    from kafscale.config.settings import SETTINGS, value_of

    loaded = load(config, settings or [], data_dir, host, port)
    rows = []
    for name in sorted(SETTINGS):
        value = value_of(loaded.settings, name)
        row = {"name": name, "value": list(value) if isinstance(value, tuple) else value}
        rows.append(row | {"origin": str(loaded.origins[name])} if origin else row)
    show(rows, ("name", "value", "origin") if origin else ("name", "value"), form)


@app.command()
def reference() -> None:
    """Print the reference of all settings and topic configs, as Markdown."""
    from kafscale.config.reference import broker_reference, topic_reference
    from kafscale.topic_configs import reference_rows

    print(broker_reference(), topic_reference(reference_rows()), sep="\n", end="")
