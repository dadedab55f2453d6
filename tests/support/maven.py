"""Jars from Maven Central by way of a pom.xml: fetched once per version of the pom, kept in the cache directory."""

from collections.abc import Iterable
from pathlib import Path

from tests.support.toolchain import cache_directory, fingerprint, missing_commands, run_tool


def missing_java(commands: Iterable[str] = ("java", "javac", "mvn")) -> list[str]:
    """Return the commands of the Java tool chain that this machine lacks; [] when nothing is missing."""
    return missing_commands(commands)


def resolve_jars(pom: Path, name: str) -> Path:
    """Return a directory with every jar the pom names and those they need at run time.

    Args:
        pom: the pom.xml to resolve.
        name: the folder in the cache directory.

    Raises:
        ToolchainError: Maven is not installed or cannot get a jar.
    """
    jars = cache_directory(name) / f"jars-{fingerprint([pom])}"
    # Written last, so that an interrupted download is not taken for a whole one.
    complete = jars / ".complete"
    if not complete.exists():
        # Asks Maven for its plain output: colours would end up in an error message.
        quiet = ["mvn", "-q", "-B", "-Dstyle.color=never", "-f", str(pom)]
        run_tool([*quiet, "dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"])
        complete.touch()
    return jars
