"""What the answers of a ping mean, and what is asked of which job."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.ping_asked import Asked, Finding
from pipeline.ping_findings import findings
from pipeline.pinging import chosen_pools, database_of, markers, node_local, order_of, table
from schemas.config import RunFile
from schemas.errors import SiteError
from schemas.site import Site

HERE = {"python": "3.11.7", "skymill": "1.0", "dask": "2026.8.0", "numpy": "2.4.6", "tensorflow": "2.21.0"}
ROOMS = {"home": "/shared/skymill", "digest": "d1", "fault": "", "remedy": ""}
MEMORY = {"machine_gib": 64.0, "free_gib": 60.0, "cgroup_gib": None, "address_space_gib": None}
SCRATCH = {
    "path": "/local",
    "fault": "",
    "kind": "ext4",
    "free_gib": 50.0,
    "write_mib_s": 400.0,
    "read_mib_s": 500.0,
}


def site(**changes: Any) -> Site:
    data = {
        "name": "lab",
        "kind": "slurm",
        "interface": "ib0",
        "scratch": "/local",
        "pools": {"cpu": {"cores": 4, "threads": 4, "memory_gib": 8.0}},
    }
    return Site.model_validate(data | changes)


def answer(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "node": f"n-{name}",
        "looked": True,
        "complete": True,
        "interfaces": {"lo": ["127.0.0.1"], "ib0": ["10.0.0.7"]},
        "address": "10.0.0.7",
        "door": "",
        "versions": HERE,
        "rooms": ROOMS,
        "memory": MEMORY,
        "cores": {"machine": 8.0, "allowed": 4.0, "quota": None},
        "gpus": 0,
        "open_files": {"soft": 1024, "hard": 4096},
        "skew_s": 0.0,
        "round_trip_s": 0.2,
        "scratch": SCRATCH,
        "login": {"reached": True, "words": ""},
        "source": {"reached": True, "words": "https://sky: 200"},
        "database": {"reached": True, "words": "db:5432"} if name == "driver" else None,
        "peers": {"cpu" if name == "driver" else "driver": {"reached": True, "words": ""}},
        **changes,
    }


def judge(
    name: str = "", chosen: Site | None = None, reached_here: bool = False, **changes: Any
) -> list[Finding]:
    chosen = chosen or site()
    pools = {"driver": chosen.driver, **chosen.pools}
    answers = {
        each: answer(each, **({"peers": {}} | changes if each == name else {"peers": {}})) for each in pools
    }
    asked = Asked(chosen, pools, HERE, ROOMS, "/here/python", source_is_reached_here=reached_here)
    return findings(asked, answers)


def test_nothing_is_said_of_a_site_that_is_as_promised():
    assert judge() == []


CASES: list[tuple[str, dict[str, Any], str, str, bool]] = [
    (
        "cpu",
        {"versions": HERE | {"dask": "2026.9.0"}},
        "pools.cpu",
        "dask is 2026.9.0 there, 2026.8.0 here",
        True,
    ),
    ("cpu", {"versions": HERE | {"python": "3.11.9"}}, "pools.cpu", "python is 3.11.9 there", False),
    ("cpu", {"versions": HERE | {"python": "3.12.7"}}, "pools.cpu", "python is 3.12.7 there", True),
    (
        "cpu",
        {"versions": {k: v for k, v in HERE.items() if k != "tensorflow"}},
        "pools.cpu",
        "tensorflow is missing",
        True,
    ),
    (
        "cpu",
        {"rooms": ROOMS | {"fault": "model comes from /tmp"}},
        "pools.cpu",
        "model comes from /tmp",
        True,
    ),
    ("cpu", {"rooms": ROOMS | {"digest": "d2"}}, "pools.cpu", "holds other code there", True),
    (
        "cpu",
        {"interfaces": {"eth1": ["10.1.0.3"]}},
        "interface",
        "no interface 'ib0'; it has eth1 (10.1.0.3)",
        True,
    ),
    ("cpu", {"door": "Cannot assign requested address"}, "interface", "no port can be opened on n-cpu", True),
    (
        "driver",
        {"peers": {"cpu": {"reached": False, "words": "10.0.0.9:4 on n-cpu: no answer"}}},
        "driver",
        "cannot connect to the job of pools.cpu: 10.0.0.9:4 on n-cpu: no answer",
        True,
    ),
    (
        "cpu",
        {"scratch": {"path": "/local", "fault": "Permission denied"}},
        "scratch",
        "Permission denied",
        True,
    ),
    ("cpu", {"scratch": SCRATCH | {"kind": "lustre"}}, "scratch", "is on the shared disk (lustre)", False),
    (
        "cpu",
        {"scratch": SCRATCH | {"kind": "tmpfs", "free_gib": 2.0}},
        "scratch",
        "2 GiB free, a worker may",
        False,
    ),
    ("cpu", {"scratch": SCRATCH | {"read_mib_s": 9.0}}, "scratch", "is slow: 9 MiB/s", False),
    ("cpu", {"round_trip_s": None}, "pools.cpu", "is not seen on n-cpu within a minute", True),
    ("cpu", {"round_trip_s": 31.0}, "pools.cpu", "takes 31 s to show a file", False),
    ("cpu", {"skew_s": -40.0}, "pools.cpu", "is 40 s behind that of the shared disk", False),
    (
        "cpu",
        {"memory": MEMORY | {"cgroup_gib": 4.0}},
        "pools.cpu.memory_gib",
        "a control group leaves 4 GiB",
        True,
    ),
    (
        "cpu",
        {"memory": MEMORY | {"address_space_gib": 9.0}},
        "pools.cpu.memory_gib",
        "ulimit -v is 9 GiB",
        False,
    ),
    ("cpu", {"memory": MEMORY | {"free_gib": 3.0}}, "pools.cpu.memory_gib", "3 GiB are free on n-cpu", False),
    (
        "cpu",
        {"cores": {"machine": 8.0, "allowed": 8.0, "quota": 1.5}},
        "pools.cpu.cores",
        "4 are promised, the job may use 1.5",
        True,
    ),
    ("cpu", {"open_files": {"soft": 256, "hard": 256}}, "prologue", "only 256 files", False),
    (
        "cpu",
        {"source": {"reached": False, "words": "x"}},
        "pools.cpu.stages",
        "its jobs fetch and pull",
        True,
    ),
    ("driver", {"source": {"reached": False, "words": "x"}}, "driver", "is to count the samples", True),
    (
        "driver",
        {"database": {"reached": False, "words": "db:5432: refused"}},
        "database.dsn",
        "db:5432",
        True,
    ),
    (
        "cpu",
        {"login": {"reached": False, "words": "no answer"}},
        "pools.cpu",
        "does not reach this machine",
        False,
    ),
    ("cpu", {"faults": {"memory": "OSError: x"}}, "pools.cpu", "memory could not be found out", False),
    (
        "cpu",
        {"folders": {"cube.path": {"path": "/tmp/c", "seen": False, "writable": True, "kind": "ext4"}}},
        "cube.path",
        "/tmp/c is not seen on n-cpu",
        True,
    ),
    (
        "cpu",
        {"folders": {"output": {"path": "/ro", "seen": True, "writable": False, "kind": "nfs"}}},
        "output",
        "/ro cannot be written to on n-cpu",
        True,
    ),
]


@pytest.mark.parametrize(("name", "changes", "key", "words", "is_fault"), CASES)
def test_each_fault_is_named_once_with_its_key(
    name: str, changes: dict[str, Any], key: str, words: str, is_fault: bool
):
    (finding,) = judge(name, **changes)
    assert (finding.where, finding.is_fault) == (key, is_fault)
    assert words in finding.words
    assert finding.change or "could not be found out" in words


def test_a_pool_that_does_not_download_need_not_reach_the_survey():
    pools = {
        "far": {"stages": ["pull", "fetch"]},
        "near": {"stages": ["train", "infer"], "internet": False},
    }
    chosen, missed = site(pools=pools), {"source": {"reached": False, "words": "x"}}
    assert judge("near", chosen, **missed) == []
    (fault,) = judge("far", chosen, **missed)
    assert "pools.far.stages" in fault.change
    blind = site(pools=pools | {"near": {"stages": ["train", "infer"]}})
    (note,) = judge("near", blind, **missed)
    assert not note.is_fault
    assert note.change == "set pools.near.internet = false"


def test_a_driver_that_cannot_count_is_told_to_count_here_where_that_helps():
    missed = {"source": {"reached": False, "words": "x"}}
    assert "skymill plan" not in judge("driver", **missed)[0].change
    assert "skymill plan" in judge("driver", reached_here=True, **missed)[0].change


def test_gpus_that_were_promised_are_missed():
    (fault,) = judge(chosen=site(pools={"gpu": {"gpus": 2}}))
    assert fault.where == "pools.gpu.gpus"
    assert "2 are promised, 0 are visible" in fault.words


def test_without_an_interface_a_loopback_address_is_a_fault_but_not_on_one_machine():
    alone = {"address": "127.0.0.1"}
    (fault,) = judge("cpu", site(interface=""), **alone)
    assert "set `interface` in the site file to one of ib0 (10.0.0.7)" in fault.change
    assert judge("cpu", site(interface="", kind="local"), **alone) == []


def test_a_peer_that_could_not_open_its_port_is_told_of_once():
    untold = {"cpu": {"reached": False, "tried": False, "words": "it has no open port"}}
    assert judge("driver", peers=untold) == []


def test_jobs_on_one_node_have_not_tried_the_network():
    (note,) = judge("cpu", node="n-driver")
    assert "the way from one node to another was not tried" in note.words
    assert judge("cpu", site(kind="local"), node="n-driver") == []


def test_faults_come_before_notes_and_a_silent_pool_is_a_fault():
    pools = {"driver": site().driver, **site().pools}
    silent = {"cpu": ("job 7 ended without an answer", "mend `python`")}
    found = findings(Asked(site(), pools, HERE, ROOMS, "p", silent), {"driver": answer("driver", skew_s=9.0)})
    assert [finding.is_fault for finding in found] == [True, False]
    assert found[0].line() == "fault  pools.cpu: job 7 ended without an answer\n       -> mend `python`"


def test_of_a_job_that_has_not_looked_yet_only_its_silence_is_told():
    chosen = site()
    first = {"name": "cpu", "node": "n-cpu", "address": "10.0.0.7", "interfaces": {"ib0": ["10.0.0.7"]}}
    silent = {"cpu": ("job 7 runs", "wait")}
    asked = Asked(chosen, {"cpu": chosen.pools["cpu"]}, HERE, ROOMS, "/here/python", silent)
    assert findings(asked, {"cpu": first}) == [Finding("pools.cpu", "job 7 runs", "wait")]


def test_the_table_has_a_line_a_pool_even_without_an_answer():
    lines = table(["driver", "cpu"], {"driver": answer("driver")})
    assert "n-driver" in lines[1]
    assert "400/500 MiB/s ext4" in lines[1]
    assert "cpu, this machine, survey server, database" in lines[1]
    assert lines[2].split() == ["cpu", "no", "answer"]


def test_one_pool_is_pinged_beside_the_driver_and_an_empty_one_is_not():
    chosen = site(pools={"a": {}, "b": {}, "c": {"nodes": 0}})
    assert list(chosen_pools(chosen, "")) == ["driver", "a", "b"]
    assert list(chosen_pools(chosen, "b")) == ["driver", "b"]
    with pytest.raises(SiteError, match="no pool 'd'") as error:
        chosen_pools(chosen, "d")
    assert "driver, a, b, c" in error.value.remedy


def run_file(output: Path, **changes: Any) -> RunFile:
    data = {
        "schema": 1,
        "name": "a",
        "output": str(output),
        "samples": {"spectro": {"sql": "SELECT z FROM SpecObj"}},
    }
    return RunFile.model_validate(data | changes)


def test_what_jobs_try_follows_from_run_file_and_walltime(tmp_path: Path):
    pools = {"driver": site(driver={"walltime": "00:03:00"}).driver, **site().pools}
    order = order_of(site(), pools, run_file(tmp_path, source={"url": "https://sky.example.org"}))
    assert order["source"] == "https://sky.example.org"
    assert order["lives_s"]["driver"] <= 180 < order["lives_s"]["cpu"] <= 600
    assert order_of(site(), pools, None)["source"] == ""
    assert order_of(site(), pools, run_file(tmp_path))["source"] == ""  # the sandbox is the driver's own


@pytest.mark.parametrize(
    ("dsn", "found"),
    [
        ("embedded", None),
        ("host=db.example.org port=6000 dbname=sky", ("db.example.org", 6000)),
        ("postgresql://me@db.example.org/sky", ("db.example.org", 5432)),
        ("host=a,b port=1,2", ("a", 1)),
    ],
)
def test_the_database_is_tried_at_its_host_and_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsn: str, found: tuple[str, int] | None
):
    monkeypatch.delenv("PGPORT", raising=False)
    assert database_of(run_file(tmp_path, database={"dsn": dsn})) == found


def test_a_database_behind_a_socket_of_this_machine_is_refused(tmp_path: Path):
    with pytest.raises(SiteError, match="socket of this machine"):
        database_of(run_file(tmp_path, database={"dsn": "host=/run/postgresql dbname=sky"}))


def test_a_marker_lies_in_each_folder_that_all_nodes_must_see_and_goes_again(tmp_path: Path):
    with markers(run_file(tmp_path / "not" / "yet", cube={"path": str(tmp_path)})) as laid:
        assert set(laid) == {"output", "cube.path", "database.directory"}
        assert laid["output"]["path"] == str(tmp_path)
        assert (tmp_path / laid["cube.path"]["marker"]).exists()
    assert list(tmp_path.iterdir()) == []


def test_folders_on_a_disk_of_one_node_are_noted_where_there_are_more_nodes():
    (note,) = node_local(site(), {"output": "/tmp/runs", "cube.path": "/shared/cube"})
    assert (note.where, note.is_fault) == ("output", False)
    assert node_local(site(kind="local"), {"output": "/tmp/runs"}) == []
