"""Variables of containers that come from credentials: exactly what is there, and nothing that compose would take."""

from pathlib import Path

import pytest

from containerserver.secrets import secrets
from reconciler.adapters.credentials import CredentialError


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which systemd puts them."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


def test_values_are_taken_as_they_are(credentials: Path) -> None:
    """Quotes, dollars and equals signs, too; comments and empty lines are none."""
    (credentials / "compose.env").write_text("# a comment\n\nKEY=a=b $c \"d\" 'e'\nOTHER=\n")
    assert secrets("", asks_itself=False) == {"KEY": "a=b $c \"d\" 'e'", "OTHER": ""}


ODD = ["no pair", "1KEY=x", "KEY WITH BLANKS=x", "KEY=a\x07"]
COMPOSES = ["PATH=/x", "DOCKER_HOST=tcp://x", "LD_PRELOAD=x", "COMPOSE_FILE=x", "PYTHONPATH=x", "https_proxy=x"]


@pytest.mark.parametrize("line", [*ODD, *COMPOSES])
def test_what_is_no_variable_of_a_container_is_refused_without_its_value(credentials: Path, line: str) -> None:
    """With the number of the line."""
    (credentials / "compose.env").write_text(f"GOOD=secret\n{line}\n")
    with pytest.raises(CredentialError, match=r"line 2 of the credential .compose\.env.") as refused:
        secrets("", asks_itself=False)
    assert "secret" not in str(refused.value)


def test_only_an_image_that_asks_itself_has_the_logins_of_broker_and_bucket(credentials: Path) -> None:
    """The broker's is in its address, quoted."""
    (credentials / "nats.username").write_text("spira\n")
    (credentials / "nats.password").write_text("a/b@c\n")
    (credentials / "recordings.aws").write_text("[default]\naws_access_key_id = K\naws_secret_access_key = S\n")
    assert secrets("nats://broker.example.org:4222", asks_itself=False) == {}
    assert secrets("nats://broker.example.org:4222", asks_itself=True) == {
        "nats_conn_url": "nats://spira:a%2Fb%40c@broker.example.org:4222",
        "minio_access_key": "K",
        "minio_secret_key": "S",
    }
