from pathlib import Path

import pytest

from schemas.errors import RunFileError
from schemas.site import Pool, Site, seconds_of
from schemas.sitefile import check_site, load_site

SITES = Path(__file__).parents[3] / "surveys" / "sites"


def faults_of(data: dict) -> str:
    with pytest.raises(RunFileError) as caught:
        check_site({"name": "a", "kind": "slurm", **data})
    assert caught.value.remedy and caught.value.exit_code == 2
    return caught.value.message


def test_all_faults_are_named_at_once():
    message = faults_of(
        {
            "kind": "slrum",
            "interfce": "ib0",
            "driver": {"wall_time": "1:00:00"},
            "pools": {"workers": {"cores": 0, "memory_gb": 3, "stages": ["dig"]}},
        }
    )
    for fault in (
        "6 faults",
        "kind: ",
        "'slrum'",
        "interfce: unknown key; did you mean interface?",
        "driver.wall_time: unknown key; did you mean walltime?",
        "pools.workers.cores: ",
        "pools.workers.memory_gb: unknown key; did you mean memory_gib?",
        "'dig'",
    ):
        assert fault in message


def test_what_does_not_fit_together_is_named_at_once():
    pools = {"driver": {"stages": ["fetch", "infer"], "walltime": "00:01:00"}}
    message = faults_of({"address": "tcp://a:1", "pools": pools})
    for fault in ("5 faults", 'kind is "address"', "pools.driver: ", "'pull'", "'train'", "warn_s, 120 s"):
        assert fault in message


@pytest.mark.parametrize("walltime", ["1h", "12:60:00", "00:00:00", "90", "1-0", "-1:00:00"])
def test_a_malformed_walltime_is_refused(walltime: str):
    message = faults_of({"driver": {"walltime": walltime}})
    assert "driver.walltime: expected a walltime such as 12:00:00" in message and walltime in message


@pytest.mark.parametrize("key", ["queue", "account"])
def test_a_word_that_would_add_directives_is_refused(key: str):
    assert f"driver.{key}: " in faults_of({"driver": {key: "debug\n#SBATCH --exclusive"}})
    assert "driver.directives.0: " in faults_of({"driver": {"directives": ["-x\nrm"]}})


@pytest.mark.parametrize("python", ["/x 'y", "~no.such.user/python"])
def test_a_python_that_no_shell_could_start_is_refused(python: str):
    assert "python: expected a command, found" in faults_of({"python": python})


def test_more_memory_than_there_is_in_the_world_is_refused():
    assert "driver.memory_gib: " in faults_of({"driver": {"memory_gib": 1e300}})


@pytest.mark.parametrize("name", ["a" * 300, "~no.such.user/a.toml", "a\0b", "a" * 300 + ".toml"])
def test_a_name_that_can_be_no_files_is_a_fault_of_the_run_file(name: str):
    with pytest.raises(RunFileError):
        load_site(name)


def test_a_newer_schema_is_refused():
    assert "schema: expected 1, found 2 (a newer site file needs a newer skymill)" in faults_of({"schema": 2})


def test_a_site_is_found_by_path_here_or_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "sites", tmp_path / "home" / ".config" / "skymill" / "sites"):
        folder.mkdir(parents=True)
        (folder / "both.toml").write_text(f'kind = "pbs"\ninterface = "{folder.parent.name}"')
    (folder / "far.toml").write_text('kind = "sge"')
    assert load_site("both").interface == tmp_path.name, "the nearer one wins"
    assert load_site("far") == load_site(str(folder / "far.toml")) == Site(name="far", kind="sge")
    assert load_site("local").kind == "local"
    with pytest.raises(RunFileError) as caught:
        load_site("boht")
    assert "unknown site 'boht'; did you mean both?; there are both, far, local" in caught.value.message
    with pytest.raises(RunFileError, match="cannot read the site file"):
        load_site("./none.toml")


def test_lengths_and_numbers_of_jobs_follow():
    site = Site(name="a", kind="slurm", pools={"io": Pool(nodes=1), "cpu": Pool()})
    assert site.nodes_of(4) == {"io": 1, "cpu": 4}
    assert Site(name="a", kind="address", address="tcp://a:1").nodes_of(4) == {"workers": 0}
    assert (seconds_of("1-01:00:01"), Pool(walltime="00:10:00").walltime_s) == (90_001, 600)


@pytest.mark.parametrize("path", sorted(SITES.glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_a_good_site_file(path: Path):
    assert load_site(str(path)).kind == path.stem


def test_the_example_for_slurm_shows_every_key():
    text = (SITES / "slurm.toml").read_text()
    for key in [*Site.model_fields, *Pool.model_fields]:
        shown = "schema" if key == "schema_" else key
        assert f"\n{shown} = " in text or f"\n# {shown} = " in text or f"\n[{shown}" in text, shown
