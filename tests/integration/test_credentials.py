"""The token file: made once, private, and read with one clear line for whatever is wrong."""

import os
import stat
from pathlib import Path

import pytest

from mesoslite.credentials import (
    TokenFileError,
    Tokens,
    call_metadata,
    find_token_file,
    make_token_file,
    read_tokens,
)


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_file_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    assert make_token_file(path)
    made = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not make_token_file(path)
    assert path.read_text() == made
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]
    assert read_tokens(path).entries[0][0] == "local"


def test_two_files_hold_two_tokens(tmp_path: Path) -> None:
    for name in "ab":
        make_token_file(tmp_path / name)
    assert read_tokens(tmp_path / "a").own != read_tokens(tmp_path / "b").own


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_is_open_to_others_is_refused_with_the_remedy(
    tmp_path: Path, mode: int
) -> None:
    path = written(tmp_path / "token", "secret\n", mode)
    with pytest.raises(TokenFileError, match=f"chmod 600 {path}"):
        read_tokens(path)


def test_several_principals_have_a_line_each(tmp_path: Path) -> None:
    tokens = read_tokens(written(tmp_path / "token", "# who\nada t1 # her\n\nt2\n"))
    assert tokens == Tokens((("ada", "t1"), ("local", "t2")))
    assert tokens.own == "t1"
    assert [tokens.principal_of(token) for token in ("t1", "t2", "t3", "")] == [
        "ada",
        "local",
        None,
        None,
    ]


def test_a_call_is_its_tokens_principals() -> None:
    tokens = Tokens((("ada", "t1"),))
    assert tokens.principal_of_call(call_metadata("t1")) == "ada"
    assert tokens.principal_of_call([("authorization", "t1")]) is None
    assert tokens.principal_of_call([("authorization", b"Bearer t1")]) is None
    assert tokens.principal_of_call([("other", "Bearer t1")]) is None
    assert tokens.principal_of_call([]) is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "a b c\n", "pr\u00fcfung t\u00f6ken\n"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TokenFileError, match="token file"):
        read_tokens(written(tmp_path / "token", text))


def test_whatever_else_is_no_token_file_is_refused_in_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(os.urandom(100) + b"\xff")
    binary.chmod(0o600)
    too_long = written(tmp_path / "long", "x" * 70_000)
    for path in (tmp_path / "absent", tmp_path, binary, too_long):
        with pytest.raises(TokenFileError) as caught:
            read_tokens(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TokenFileError, match="--token-file"):
        make_token_file(tmp_path / "file" / "token")


def test_the_file_is_found_by_flag_then_variable_then_the_users_own(tmp_path: Path) -> None:
    environment = {"MESOSLITE_TOKEN_FILE": "/named", "XDG_CONFIG_HOME": str(tmp_path)}
    assert find_token_file("/given", environment) == Path("/given")
    assert find_token_file(None, environment) == Path("/named")
    del environment["MESOSLITE_TOKEN_FILE"]
    assert find_token_file(None, environment) == tmp_path / "mesoslite" / "token"
    assert find_token_file(None, {}) == Path.home() / ".config" / "mesoslite" / "token"
