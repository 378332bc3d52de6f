"""What a process is told by its environment."""

import os

import pytest
from pydantic import ValidationError

from breakwater.chassis.settings import SecretFileError, ServiceSettings, load, read_secret


class FilesSettings(ServiceSettings):
    object_store_url: str
    retention_days: int = 30


@pytest.fixture
def environment(monkeypatch):
    """The process's environment: only what the test sets."""
    for name in list(os.environ):
        if name.upper().startswith("BREAKWATER_"):
            monkeypatch.delenv(name)

    def put(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"BREAKWATER_{name}", value)

    put(ENVIRONMENT="development", OBJECT_STORE_URL="file:///objects")
    return put


def test_settings_are_read_and_frozen(environment):
    """Each variable arrives with its type; nothing can be changed afterwards."""
    environment(
        GRPC_PORT="50053", RETENTION_DAYS="7", PEERS="leads=127.0.0.1:50051,notify=10.0.0.1:1,notify=10.0.0.2:1"
    )
    settings = load(FilesSettings)
    assert (settings.grpc_port, settings.retention_days) == (50053, 7)
    assert settings.peers == {"leads": ("127.0.0.1:50051",), "notify": ("10.0.0.1:1", "10.0.0.2:1")}
    with pytest.raises(ValidationError):
        settings.grpc_port = 1


def test_every_error_is_reported_at_once_and_ends_the_process_with_2(environment, capsys, monkeypatch):
    """Wrong types, missing ones and misspelt names in one go, without any value."""
    environment(GRPC_PORT="canary-secret", TRACE_SAMPLE_RATIO="7", PEERS="leads", GRPC_PROT="50053", RETENTION="1")
    monkeypatch.delenv("BREAKWATER_OBJECT_STORE_URL")
    with pytest.raises(SystemExit) as ended:
        load(FilesSettings)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    for fragment in (
        "BREAKWATER_GRPC_PORT: ",
        "BREAKWATER_TRACE_SAMPLE_RATIO: ",
        "BREAKWATER_PEERS: must be name=host:port,...",
        "BREAKWATER_OBJECT_STORE_URL is missing",
        "BREAKWATER_GRPC_PROT is not a setting; did you mean BREAKWATER_GRPC_PORT?",
        "BREAKWATER_RETENTION is not a setting; did you mean BREAKWATER_RETENTION_DAYS?",
    ):
        assert fragment in told
    assert "canary-secret" not in told


def test_a_variable_of_another_part_of_the_platform_is_no_error(environment):
    """A shared environment may hold the command line's variables."""
    environment(STATE="/var/lib/breakwater", TOKEN="x", GATEWAY="http://127.0.0.1:8080")
    assert load(FilesSettings).retention_days == 30


def test_a_password_in_the_database_url_is_refused(environment, capsys):
    """Secrets come as files; the message says where, not what."""
    environment(DATABASE_URL="postgresql://files:hunter2@127.0.0.1:5432/breakwater")
    with pytest.raises(SystemExit):
        load(FilesSettings)
    told = capsys.readouterr().err
    assert "DATABASE_PASSWORD_FILE" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        ("secret", 0o644, "open to everybody"),
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
        ("x" * 20_000, 0o600, "larger"),
    ],
)
def test_a_secret_file_that_is_unsafe_or_useless_is_refused(tmp_path, content, mode, problem):
    """The message names the file and the problem."""
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(SecretFileError, match=problem):
        read_secret(path)


def test_a_secret_comes_without_its_trailing_newline(tmp_path):
    """Editors add one."""
    path = tmp_path / "secret"
    path.write_text(" pass word \n")
    path.chmod(0o600)
    assert read_secret(path) == b" pass word "
    with pytest.raises(SecretFileError, match="cannot be read"):
        read_secret(tmp_path / "absent")


def test_places_outside_are_read_and_judged_at_start(environment, capsys):
    """Bases, mail server and allowed networks have their types; one with a key in it, or of nonsense, stops the start."""
    environment(
        HTTP_BASES="wecom=https://qyapi.weixin.qq.com,feishu=https://open.feishu.cn/open-apis/",
        SMTP_SERVER="mail.example:587",
        EGRESS_PRIVATE="10.0.3.0/24, ::1/128",
    )
    settings = load(FilesSettings)
    assert settings.http_bases["feishu"] == "https://open.feishu.cn/open-apis/"
    assert (settings.smtp_server, settings.smtp_tls) == ("mail.example:587", "starttls")
    assert [str(network) for network in settings.egress_private] == ["10.0.3.0/24", "::1/128"]
    environment(
        HTTP_BASES="wecom=https://x/send?key=canary-secret",
        SMTP_SERVER="mail",
        EGRESS_PRIVATE="10.0.3.7/24",
        SMTP_TLS="no",
    )
    with pytest.raises(SystemExit):
        load(FilesSettings)
    told = capsys.readouterr().err
    for name in ("HTTP_BASES: must be name=https", "SMTP_SERVER: ", "EGRESS_PRIVATE: ", "SMTP_TLS: "):
        assert f"BREAKWATER_{name}" in told
    assert "canary-secret" not in told
