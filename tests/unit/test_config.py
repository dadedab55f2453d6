"""Settings: where they come from, what is refused, and that everything about them is documented."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kafscale.config import BrokerSettings, Source, load_settings, local_path, local_url, parse_overrides
from kafscale.config.descriptions import ConfigSource, describe_broker
from kafscale.config.files import parse_properties
from kafscale.config.listeners import parse_listeners, parse_protocol_map
from kafscale.config.loading import environment_name
from kafscale.config.reference import broker_reference, topic_reference
from kafscale.config.settings import SETTINGS, attribute_name, default_of, kafka_name, value_of
from kafscale.config.values import BadValueError, ConfigType, format_value, parse
from kafscale.errors import ConfigurationError
from kafscale.topic_configs import reference_rows

REFERENCE = Path(__file__).parents[2] / "docs" / "configuration.md"


def refusal(overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ=environ, overrides=overrides)
    return str(caught.value)


class TestPrecedence:
    def test_defaults(self) -> None:
        loaded = load_settings()
        assert loaded.settings == BrokerSettings()
        assert {origin.source for origin in loaded.origins.values()} == {Source.DEFAULT}
        assert loaded.origins.keys() == SETTINGS.keys()

    def test_each_source_goes_before_the_one_below(self, tmp_path: Path) -> None:
        file = tmp_path / "server.properties"
        file.write_text("num.partitions=2\nnode.id=2\nlog.retention.hours=2\n")
        environ = {"KAFSCALE_NUM_PARTITIONS": "3", "KAFSCALE_NODE_ID": "3", "PATH": "/bin"}
        loaded = load_settings(file, environ, {"num.partitions": "4"})
        settings = loaded.settings
        assert (settings.num_partitions, settings.node_id, settings.log_retention_hours) == (4, 3, 2)
        assert str(loaded.origins["num.partitions"]) == "command line"
        assert str(loaded.origins["node.id"]) == "environment KAFSCALE_NODE_ID"
        assert str(loaded.origins["log.retention.hours"]) == f"file {file}"
        assert str(loaded.origins["max.connections"]) == "default"

    def test_variables_of_the_client_commands_are_no_settings(self) -> None:
        others = {"KAFSCALE_BROKERS": "there:9092", "KAFSCALE_TEST_REQUIRE_ALL": "1"}
        assert load_settings(environ=others).settings == BrokerSettings()

    def test_toml(self, tmp_path: Path) -> None:
        file = tmp_path / "broker.toml"
        file.write_text(
            '"node.id" = 7\nmessage.max.bytes = 5\n'
            '[log]\ncleanup.policy = ["delete", "compact"]\npreallocate = true\nretention.ms = -1\n'
        )
        settings = load_settings(file).settings
        assert (settings.node_id, settings.message_max_bytes) == (7, 5)
        assert settings.log_cleanup_policy == ("delete", "compact")
        assert settings.log_preallocate is True
        assert settings.default_retention_ms == -1

    @pytest.mark.parametrize(("name", "text"), [("broken.toml", "= 1"), ("latin.properties", "\xff")])
    def test_unreadable_files(self, tmp_path: Path, name: str, text: str) -> None:
        file = tmp_path / name
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigurationError, match=name):
            load_settings(file)
        with pytest.raises(ConfigurationError, match="No such file"):
            load_settings(tmp_path / "absent")


class TestProperties:
    def test_what_java_reads(self) -> None:
        text = (
            "# comment\n! comment\n\na=1\n b : 2\nc 3\nd\ne=x=y\nf = one \\\n   two\ng\\ h=\\u0041\\tb\nlast=a\nlast=b "
        )
        assert parse_properties(text) == {
            "a": "1",
            "b": "2",
            "c": "3",
            "d": "",
            "e": "x=y",
            "f": "one two",
            "g h": "A\tb",
            "last": "b",
        }

    @given(st.text())
    def test_any_text_is_read(self, text: str) -> None:
        parse_properties(text)


class TestRefusals:
    def test_unknown_name_with_the_nearest(self) -> None:
        assert refusal({"num.partitons": "3"}) == (
            "unknown setting num.partitons (command line): did you mean num.partitions?"
        )
        assert "KAFSCALE_NODE_ID?" in refusal(environ={"KAFSCALE_NODEID": "3"})
        assert "mean" not in refusal({"zzz": "3"})

    def test_bad_value_names_setting_value_origin_and_rule(self) -> None:
        assert refusal({"num.partitions": "0"}) == "num.partitions '0' (command line): Value must be at least 1"
        assert refusal(environ={"KAFSCALE_NODE_ID": "one"}) == (
            "node.id 'one' (environment KAFSCALE_NODE_ID): Not a number of type INT"
        )

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("auto.create.topics.enable", "yes", "true or false"),
            ("compression.type", "brotli", "one of: uncompressed"),
            ("log.cleanup.policy", "delete,shred", "one of: compact, delete"),
            ("storage.url", "s3://bucket", "must begin with one of: file://, memory://"),
            ("metadata.url", "sqlite://data.db", "absolute path"),
            ("listeners", "127.0.0.1:9092", "NAME://host:port"),
            ("listeners", "PLAINTEXT://h:99999", "NAME://host:port"),
            ("listeners", "SSL://h:1", "only PLAINTEXT"),
            ("listeners", "INTERNAL://h:1", "listener.security.protocol.map"),
            ("listeners", "PLAINTEXT://h:1,PLAINTEXT://h:2", "name of its own"),
            ("listeners", "PLAINTEXT://0.0.0.0:9092", "set advertised.listeners"),
            ("advertised.listeners", "SASL_SSL://h:1", "only PLAINTEXT"),
            ("listener.security.protocol.map", "PLAINTEXT", "NAME:PROTOCOL"),
            ("group.min.session.timeout.ms", "9999999", "greater than group.max.session.timeout.ms"),
        ],
    )
    def test_what_is_wrong_is_named(self, name: str, value: str, reason: str) -> None:
        message = refusal({name: value})
        assert reason in message
        assert "\n" not in message

    def test_two_listeners_on_one_port(self) -> None:
        protocols = "A:PLAINTEXT,B:PLAINTEXT"
        message = refusal({"listeners": "A://h:1,B://h:1", "listener.security.protocol.map": protocols})
        assert "port of its own" in message

    def test_override_without_equals_sign(self) -> None:
        with pytest.raises(ConfigurationError, match="key=value"):
            parse_overrides(["node.id"])
        assert parse_overrides(["a=b=c"]) == {"a": "b=c"}

    def test_settings_cannot_change(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            BrokerSettings().node_id = 2  # type: ignore[misc]


class TestDerived:
    def test_urls_follow_the_data_directory(self) -> None:
        settings = load_settings(overrides={"data.dir": "/srv/a b"}).settings
        assert settings.storage_url == "file:///srv/a%20b/objects"
        assert settings.metadata_url == "sqlite:///srv/a%20b/metadata.db"
        assert local_path(settings.storage_url) == Path("/srv/a b/objects")
        assert load_settings(overrides={"storage.url": "memory://"}).settings.storage_url == "memory://"

    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
    def test_a_local_url_names_its_path(self, name: str) -> None:
        path = Path("/x") / name
        assert local_path(local_url("file", path)) == path.absolute()

    def test_advertised_listeners_default_to_the_listeners(self) -> None:
        overrides = {"listeners": "A://[::1]:1,b://h:0", "listener.security.protocol.map": "A:PLAINTEXT,B:PLAINTEXT"}
        settings = load_settings(overrides=overrides).settings
        assert settings.client_listeners == settings.bound_listeners
        assert [(each.name, each.host, each.port, each.address) for each in settings.bound_listeners] == [
            ("A", "::1", 1, "[::1]:1"),
            ("B", "h", 0, "h:0"),
        ]

    def test_every_address_can_be_listened_on(self) -> None:
        overrides = {"listeners": "PLAINTEXT://:9092", "advertised.listeners": "PLAINTEXT://box:9092"}
        settings = load_settings(overrides=overrides).settings
        assert settings.bound_listeners[0].is_wildcard
        assert settings.client_listeners[0].address == "box:9092"

    @pytest.mark.parametrize(
        ("overrides", "retention_ms"),
        [
            ({}, 604_800_000),
            ({"log.retention.hours": "-1"}, -1),
            ({"log.retention.minutes": "2"}, 120_000),
            ({"log.retention.ms": "5", "log.retention.minutes": "2"}, 5),
        ],
    )
    def test_retention(self, overrides: dict[str, str], retention_ms: int) -> None:
        assert load_settings(overrides=overrides).settings.default_retention_ms == retention_ms

    @given(st.from_regex(r"[A-Z]{1,9}://(\[[0-9a-f]{0,4}::\]|[a-z.]{1,9}):[0-9]{1,4}", fullmatch=True))
    def test_listeners_are_printed_as_they_are_read(self, text: str) -> None:
        (listener,) = parse_listeners(text, {text.partition(":")[0]: "PLAINTEXT"})
        assert str(listener).replace(f":{listener.port}", "") == text.rpartition(":")[0]
        assert parse_listeners(str(listener), {listener.name: "PLAINTEXT"}) == (listener,)

    def test_protocol_map_ignores_case(self) -> None:
        assert parse_protocol_map("a:plaintext, B:SSL") == {"A": "PLAINTEXT", "B": "SSL"}


class TestValues:
    @pytest.mark.parametrize(
        ("kind", "text", "value"),
        [
            (ConfigType.BOOLEAN, " TRUE ", True),
            (ConfigType.SHORT, "32767", 32767),
            (ConfigType.INT, "+5", 5),
            (ConfigType.LONG, "-9223372036854775808", -(2**63)),
            (ConfigType.DOUBLE, "0.5f", 0.5),
            (ConfigType.DOUBLE, ".5", 0.5),
            (ConfigType.LIST, "a, b", ("a", "b")),
            (ConfigType.LIST, " ", ()),
            (ConfigType.STRING, " a ", "a"),
        ],
    )
    def test_read_as_kafka_reads(self, kind: ConfigType, text: str, value: object) -> None:
        assert parse(kind, text) == value

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            (ConfigType.BOOLEAN, "1"),
            (ConfigType.SHORT, "32768"),
            (ConfigType.INT, "1_000"),
            (ConfigType.INT, "1.0"),
            (ConfigType.LONG, "9223372036854775808"),
            (ConfigType.LONG, "9" * 5000),
            (ConfigType.DOUBLE, "half"),
        ],
    )
    def test_refused_as_kafka_refuses(self, kind: ConfigType, text: str) -> None:
        with pytest.raises(BadValueError):
            parse(kind, text)

    @pytest.mark.parametrize("name", SETTINGS)
    def test_every_default_is_allowed(self, name: str) -> None:
        value = value_of(BrokerSettings(), name)
        assert SETTINGS[name].read(value) == value
        assert SETTINGS[name].read(format_value(value)) == value


class TestDescriptions:
    def test_a_default_and_a_value_somebody_set(self) -> None:
        loaded = load_settings(overrides={"num.partitions": "3"})
        described = {each.name: each for each in describe_broker(loaded)}
        assert described.keys() == SETTINGS.keys()
        assert described["num.partitions"].value == "3"
        assert described["num.partitions"].source is ConfigSource.STATIC_BROKER
        assert [(each.value, each.source) for each in described["num.partitions"].synonyms] == [
            ("3", ConfigSource.STATIC_BROKER),
            ("1", ConfigSource.DEFAULT),
        ]
        assert described["node.id"].source is ConfigSource.DEFAULT
        assert described["log.retention.ms"].value is None
        assert described["log.retention.ms"].synonyms == ()


class TestDeclarations:
    def test_names(self) -> None:
        assert len(SETTINGS) == len(BrokerSettings.model_fields)
        for name in SETTINGS:
            assert kafka_name(attribute_name(name)) == name

    @pytest.mark.parametrize("name", SETTINGS)
    def test_is_explained(self, name: str) -> None:
        assert SETTINGS[name].help.endswith(".")
        assert environment_name(name).isupper()
        derived = default_of(name) in (None, "")
        assert derived == (SETTINGS[name].shown_default is not None)

    def test_reference_is_current(self) -> None:
        expected = f"{broker_reference()}\n{topic_reference(reference_rows())}"
        assert REFERENCE.read_text() == expected, "run `make docs`"
