"""What a host tells the registry of itself: only what a data scientist needs, and seldom."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.agent.abilities import AbilitiesTeller, abilities_of
from reconciler.core.registry.host_abilities import MAX_VALUE, host_key, is_current, written
from reconciler.core.registry.host_tags import Host, tag_key
from reconciler.files.installed_pythons import installed_pythons
from reconciler.settings.load import load
from reconciler.settings.model import Settings
from tests.unit.test_report import Noting

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOST = Host(tag_key("inference1.example"), "1a2b3c4d")
HOUR = timedelta(hours=1)


def settings(directory: Path, text: str = "") -> Settings:
    """Load settings."""
    file = directory / "config.toml"
    file.write_text(text)
    return load(file)


def test_the_document_names_no_address_but_the_public_one(tmp_path: Path) -> None:
    """Whatever root has put into the settings, a data scientist sees what a model must be like, and no more."""
    text = """
[registry]
uri = "https://secret.example"
[deploy]
address = "10.9.9.9"
peers = ["10.9.0.0/16"]
network = ["10.8.0.0/16"]
devices = ["/dev/secret0"]
brokers = ["nats://secret.example:4222"]
public_url = "https://inference1.example/{name}"
[fetch]
hosts = ["https://secret.example"]
[build]
index_url = "https://secret.example/simple"
[policy]
names = ["pauses", "spira-*"]
networks = ["10.8.0.0/16"]
devices = ["/dev/secret0"]
brokers = ["nats://secret.example:4222"]
"""
    document = written(abilities_of(settings(tmp_path, text)), HOST, NOW)
    assert "secret" not in document
    assert "10." not in document.replace('"3.10"', "")
    told = json.loads(document)
    assert host_key(HOST) == "host.inference1.example"
    assert set(told) == {
        *("schema", "seen", "host", "pythons", "downloads_pythons", "selectors", "names", "tags", "require_example"),
        *("require_hashes", "allow_source", "max_size", "memory_max", "start_timeout", "public_url"),
    }
    assert (told["seen"], told["host"]) == ("2026-01-02T03:04Z", "1a2b3c4d")
    assert told["names"] == ["pauses", "spira-*"]
    assert told["public_url"] == "https://inference1.example/{name}"


def test_a_document_is_current_for_an_hour_if_nothing_differs(tmp_path: Path) -> None:
    """Anybody may have written it: what is not exactly this host's is written again."""
    own = replace(abilities_of(settings(tmp_path)), pythons=("3.11",))
    text = written(own, HOST, NOW)
    assert is_current(text, own, HOST, NOW + timedelta(minutes=58), HOUR)
    assert not is_current(text, own, HOST, NOW + HOUR, HOUR)
    assert not is_current(text, own, HOST, NOW - HOUR, HOUR)
    assert not is_current(text, replace(own, pythons=("3.11", "3.13")), HOST, NOW, HOUR)
    assert not is_current(text, own, replace(HOST, id="ffffffff"), NOW, HOUR)
    for odd in ("", "{}", "[" * 10_000, text + " ", text.replace("2026-01-02T03:04Z", "yesterday"), '{"seen": 1}'):
        assert not is_current(odd, own, HOST, NOW, HOUR)


def test_names_that_are_too_many_for_a_tag_are_left_out(tmp_path: Path) -> None:
    """A host says then that it does not tell them, and not half of them."""
    own = replace(abilities_of(settings(tmp_path)), names=tuple(f"model-{number}" for number in range(1000)))
    text = written(own, HOST, NOW)
    assert len(text) <= MAX_VALUE
    assert json.loads(text)["names"] is None
    assert is_current(text, own, HOST, NOW, HOUR)


def test_the_pythons_of_a_host_are_those_that_a_model_can_run_on(tmp_path: Path) -> None:
    """Programs in the two places, executable, and not older than the model server."""
    for name, mode in (("python3.9", 0o755), ("python3.12", 0o755), ("python3.13", 0o644), ("python3", 0o755)):
        (tmp_path / name).touch(mode)
        (tmp_path / name).chmod(mode)
    assert installed_pythons((str(tmp_path), str(tmp_path / "none"))) == ("3.12",)


def test_the_registry_is_asked_when_something_changed_and_once_an_hour(tmp_path: Path) -> None:
    """A poll every ten seconds costs nothing."""
    now = [1_800_000_000.0]
    registry, teller, own = Noting(), AbilitiesTeller(wall=lambda: now[0]), settings(tmp_path)
    for _ in range(5 * 360):
        teller.tell(own, HOST, registry)
        now[0] += 10
    assert (registry.searched, registry.asked) == (5, 5)
    other = settings(tmp_path, '[policy]\nnames = ["x"]\n')
    teller.tell(other, HOST, registry)
    assert (registry.searched, registry.asked) == (6, 6)
    assert json.loads(registry.told[host_key(HOST)])["names"] == ["x"]
    # A restart asks once, and finds that it is true.
    AbilitiesTeller(wall=lambda: now[0]).tell(other, HOST, registry)
    assert (registry.searched, registry.asked) == (7, 6)


def test_a_registry_that_refuses_it_is_left_in_peace(tmp_path: Path) -> None:
    """Reading goes on, and so do the tags of versions."""
    now = [0.0]
    registry, teller, own = Noting(refuses=True), AbilitiesTeller(lambda: now[0]), settings(tmp_path)
    asked_at = []
    for second in range(0, 800, 10):
        now[0] = float(second)
        before = registry.asked
        teller.tell(own, HOST, registry)
        asked_at += [second] if registry.asked > before else []
    assert asked_at == [0, 60, 180, 420]
