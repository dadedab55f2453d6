"""A real Apache Kafka, one node in KRaft mode on a loopback port: the oracle for what a broker has to do.

Maven fetches the server's published jars once into the cache directory; nothing is installed. From the command line:

    python -m tests.support.apache_kafka --port 19092

Settings are Kafka's defaults, except where one node or a test machine makes a default impossible (replication factors,
heap) and where a default would make every test wait for disk layout (the internal topics' 50 partitions).
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from tests.support.maven import resolve_jars
from tests.support.server_process import LOOPBACK, ServerError, ServerProcess, free_port
from tests.support.toolchain import ToolchainError, run_tool

KAFKA_VERSION: Final = "4.1.0"
NODE_ID: Final = 1
# Any 22 characters of base64 do; a fixed one keeps a data directory usable across runs.
CLUSTER_ID: Final = "a2Fmc2NhbGUtb3JhY2xlLQ"
HEAP_MAX: Final = "512m"
# Starting takes 3 to 6 s on two idle cores.
START_WAIT_S: Final = 60.0
# A controlled shutdown syncs every log segment.
STOP_WAIT_S: Final = 30.0

_POM: Final = Path(__file__).parent / "java" / "pom.xml"
_LOG4J: Final = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n%throwable
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


def server_jars() -> Path:
    """Return the directory of the server's and the tools' jars, fetching them first if they are not there yet.

    Raises ToolchainError when Maven is not installed or cannot resolve a jar.
    """
    return resolve_jars(_POM, "apache-kafka")


class ApacheKafka(ServerProcess):
    """Apache Kafka as broker and controller in one process.

    Args:
        data_dir: its log directories and configuration; a directory that was formatted before is used as it is.
        port: the loopback port for clients; a free one when None.
        overrides: broker settings by Kafka's own names, above the ones made here.
    """

    def __init__(self, data_dir: Path, port: int | None = None, overrides: Mapping[str, str] | None = None) -> None:
        listening_port = free_port() if port is None else port
        self.data_dir = data_dir
        self.jars = server_jars()
        self._overrides = dict(overrides or {})
        self._properties_path = data_dir / "server.properties"
        self._log4j_path = data_dir / "log4j2.properties"
        super().__init__(
            name=f"Apache Kafka {KAFKA_VERSION}",
            command=self._java(f"-Xmx{HEAP_MAX}", "kafka.Kafka", str(self._properties_path)),
            port=listening_port,
            log_path=data_dir / "server.log",
            start_wait_s=START_WAIT_S,
            stop_wait_s=STOP_WAIT_S,
        )

    def start(self) -> None:
        """Write the configuration, format the storage once, start, and return when requests are answered."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._log4j_path.write_text(_LOG4J)
        self._properties_path.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
        if not (self.data_dir / "logs" / "meta.properties").exists():
            config = ("--config", str(self._properties_path))
            run_tool(self._java("kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, *config))
        super().start()

    def _properties(self) -> dict[str, str]:
        controller_port = free_port()
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(NODE_ID),
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{controller_port}",
            "log.dirs": str(self.data_dir / "logs"),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # Creating fifty partitions of an internal topic is what the first group would wait for.
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.num.partitions": "4",
        }
        return properties | self._overrides

    def _java(self, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._log4j_path}"
        return ["java", "-cp", f"{self.jars}/*", log4j, "-Djava.awt.headless=true", *arguments]


def main() -> None:
    """Run Apache Kafka in the foreground until it ends or is interrupted."""
    arguments = _parse_arguments()
    overrides = dict(setting.split("=", 1) for setting in arguments.set)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    with tempfile.TemporaryDirectory(prefix="apache-kafka-") as scratch:
        data_dir: Path = arguments.data_dir or Path(scratch)
        try:
            with ApacheKafka(data_dir, arguments.port, overrides) as kafka:
                print(kafka.bootstrap, flush=True)
                sys.exit(kafka.wait())
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
        except (ServerError, ToolchainError) as error:
            sys.exit(str(error))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.support.apache_kafka", description=main.__doc__)
    parser.add_argument("--port", type=int, help="loopback port for clients (default: a free one)")
    parser.add_argument("--data-dir", type=Path, help="where to keep data (default: a directory deleted at the end)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a broker setting of Kafka's")
    return parser.parse_args()


def _exit_on_signal(_number: int, _frame: FrameType | None) -> NoReturn:
    # Leaves through the context managers, so that the child is stopped too.
    raise SystemExit(0)


if __name__ == "__main__":
    main()
