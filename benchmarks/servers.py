"""The two servers that are compared, each with a temporary directory of its own on the same file system."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.clients import SingleRecords, create_topic
from benchmarks.measure import cpu_seconds, resident_bytes
from tests.support.apache_kafka import ApacheKafka
from tests.support.broker import BrokerProcess
from tests.support.server_process import ServerError, ServerProcess

KAFSCALE: Final = "kafscale"
APACHE_KAFKA: Final = "Apache Kafka"

CONNECT_PAUSE_S: Final = 0.005
"""Between two tries to connect to a starting server: what a measured start may be too long by."""

START_WAIT_S: Final = 60.0

START_TOPIC: Final = "start"


class Subject:
    """One running server and what can be asked about it."""

    def __init__(self, name: str, process: ServerProcess, data_dir: Path) -> None:
        self.name = name
        self.data_dir = data_dir
        self._process = process
        self.loaded: set[str] = set()
        """Topics that hold a scenario's records already."""

    @property
    def bootstrap(self) -> str:
        return self._process.bootstrap

    @property
    def port(self) -> int:
        return self._process.port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    @property
    def resident_bytes(self) -> int:
        return resident_bytes(self._process.pid)

    def start(self) -> None:
        """Start the server in an empty directory and give it the topic that later starts produce to."""
        self._process.start()
        create_topic(self.port, START_TOPIC, partition_count=1)

    def stop(self) -> None:
        """End the server, gently where it answers."""
        if self._process.is_running:
            self._process.terminate()
        self._process.kill()

    def restart(self) -> float:
        """Stop the server and start it again; return seconds from process start to the first acknowledged record."""
        self.stop()
        failures: list[ServerError] = []

        def run() -> None:
            try:
                self._process.start()
            except ServerError as error:
                failures.append(error)

        start = time.perf_counter()
        starting = threading.Thread(target=run)
        starting.start()
        try:
            self._produce_first(start + START_WAIT_S, failures)
            return time.perf_counter() - start
        finally:
            starting.join()

    def _produce_first(self, deadline: float, failures: list[ServerError]) -> None:
        while time.perf_counter() < deadline and not failures:
            try:
                with SingleRecords(self.port, START_TOPIC) as records:
                    if records.send() == 0:
                        return
            except OSError:
                pass
            time.sleep(CONNECT_PAUSE_S)
        raise failures[0] if failures else ServerError(f"{self.name} acknowledged nothing in {START_WAIT_S:g} s")


@contextmanager
def running_pair(directory: Path) -> Iterator[list[Subject]]:
    """Start both servers below `directory`, this broker first; stop them in the end."""
    own_dir, apache_dir = directory / "kafscale", directory / "apache-kafka"
    subjects = [
        Subject(KAFSCALE, BrokerProcess(own_dir), own_dir),
        Subject(APACHE_KAFKA, ApacheKafka(apache_dir), apache_dir),
    ]
    try:
        for subject in subjects:
            subject.start()
        yield subjects
    finally:
        for subject in subjects:
            subject.stop()


@contextmanager
def running_broker(directory: Path) -> Iterator[Subject]:
    """Start this broker alone below `directory`; stop it in the end."""
    subject = Subject(KAFSCALE, BrokerProcess(directory / "kafscale"), directory / "kafscale")
    try:
        subject.start()
        yield subject
    finally:
        subject.stop()
