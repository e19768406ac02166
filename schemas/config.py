"""The run file: one TOML file that says what a run is.

Values come from four places, later ones win: the defaults below, the file, environment variables
(``SKYMILL_TRAINING__EPOCHS=3``) and ``key=value`` words of the command line (``training.epochs=3``).
Passwords never stand in it: they come from ``PGPASSWORD``, a libpq password file, or
``database.password_file``.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator


def _expand(value: str) -> str:
    expanded = os.path.expandvars(str(Path(value).expanduser()) if value.startswith("~") else value)
    if missing := re.findall(r"\$\{?(\w+)", expanded):
        raise ValueError(f"expected the environment variable {missing[0]} to be set")
    return expanded


ExpandedPath = Annotated[str, AfterValidator(_expand)]
"""A path in which ``~`` and ``$VARIABLES`` are expanded."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]


class Section(BaseModel):
    """A frozen part of the run file that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Section):
    """The survey server that speaks SkyServer's protocol."""

    url: str = "sandbox"
    release: Annotated[int, Field(ge=8, le=99)] = 17
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    row_cap: Annotated[int, Field(gt=0)] = 500_000
    max_query_chars: Annotated[int, Field(ge=500)] = 7_000

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        if "@" in url:
            raise ValueError("expected no user or password in the URL: it is written into every product")
        if url != "sandbox" and not re.match(r"^https?://[^\s/]+", url):
            raise ValueError('expected "sandbox" or a URL such as https://skyserver.sdss.org')
        return url


class Sandbox(Section):
    """The sky that is started by itself when ``source.url`` is "sandbox"."""

    sky: ExpandedPath = "default"
    host: str = "127.0.0.1"
    transient: Fraction = 0.0
    outside: Fraction = 0.0
    rate_limit_per_s: Annotated[float, Field(gt=0)] | None = None
    connection_limit: Annotated[int, Field(gt=0)] | None = None
    latency_s: Annotated[float, Field(ge=0)] = 0.0


class Sample(Section):
    """A named selection of objects, one row an object; an empty `partition_by` means id ranges."""

    sql: Annotated[str, Field(min_length=10)]
    key: str = "specobjid"
    partition_by: str = ""
    rows_per_partition: Annotated[int, Field(gt=0)] = 20_000
    limit: Annotated[int, Field(gt=0)] | None = None


class Images(Section):
    """The cutouts: square, centred on the object."""

    pixels: Annotated[int, Field(ge=8, le=2048)] = 64
    arcsec_per_pixel: Annotated[float, Field(gt=0, le=60)] = 0.396
    bands: tuple[str, ...] = ("i", "r", "g")
    max_bytes: Annotated[int, Field(gt=0)] = 8_000_000

    @field_validator("bands")
    @classmethod
    def _are_the_three_of_a_jpeg(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(bands)) != 3 or len(bands) != 3 or not all(bands):
            raise ValueError('expected three different bands, as ["i", "r", "g"]: a cutout is a JPEG')
        return bands


class Cube(Section):
    """The Zarr group of one sample; a block is one shard."""

    path: ExpandedPath | None = None
    dtype: Literal["uint8"] = "uint8"
    rows_per_chunk: Annotated[int, Field(gt=0)] = 64
    rows_per_block: Annotated[int, Field(gt=0)] = 1024

    @model_validator(mode="after")
    def _blocks_are_whole_chunks(self) -> "Cube":
        if self.rows_per_block % self.rows_per_chunk:
            raise ValueError(
                f"expected rows_per_block to be a multiple of rows_per_chunk, "
                f"found {self.rows_per_block} and {self.rows_per_chunk}"
            )
        return self


class Model(Section):
    """The network: a preset's name, what of it is changed, and what computes it.

    ``passes`` are those of Monte-Carlo dropout, each with other neurons left out; 0 predicts once, with all.
    """

    preset: str = "light"
    overrides: dict[str, Any] = Field(default_factory=dict)
    backend: Literal["tensorflow", "jax", "torch"] = "tensorflow"
    passes: Annotated[int, Field(ge=0, le=1000)] = 0
    engine: Literal["auto", "openvino", "tensorflow"] = "auto"


class Target(Section):
    """What is learnt, and how its error is measured."""

    column: str = "z"
    definition: str = "skymill"


class Split(Section):
    """Shares of the labelled sample; what train and validation leave is the test part."""

    train: Fraction = 0.7
    validation: Fraction = 0.15
    strata: Annotated[int, Field(ge=1, le=1000)] = 10

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> "Split":
        if self.train <= 0 or self.validation <= 0 or self.train + self.validation >= 1:
            raise ValueError(
                "expected train > 0, validation > 0 and train + validation < 1 (the rest is the test part), "
                f"found {self.train} and {self.validation}"
            )
        return self


class Training(Section):
    """How long and how hard to learn; the first four numbers come from the preset where they are empty."""

    sample: Name = "spectro"
    epochs: Annotated[int, Field(gt=0)] | None = None
    batch: Annotated[int, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    patience: Annotated[int, Field(gt=0)] | None = None
    weight_column: str = ""
    ensemble: Annotated[int, Field(ge=1, le=100)] = 1
    checkpoint_s: Annotated[float, Field(gt=0)] = 30.0
    deadline_s: Annotated[float, Field(ge=10)] = 300.0
    tensorboard: bool = False


class Search(Section):
    """Short trainings with other values of some fields of the preset, before the one that counts.

    What ``fields`` may hold is told by `model.search.trial_overrides`.
    """

    kind: Literal["random", "grid"] = "random"
    trials: Annotated[int, Field(gt=0, le=1000)] = 8
    epochs: Annotated[int, Field(gt=0)] = 5
    fields: Annotated[dict[str, Any], Field(min_length=1)]


class Cluster(Section):
    """Where the work is done: local processes, a Dask scheduler that is there already, or jobs of a site.

    ``address`` is the scheduler's, or the path of its scheduler file (``….json``); ``pooled`` says that its workers
    name the stages they are for. ``site`` has the workers be jobs of a site, `nodes` at most, while the driver stays
    here.
    """

    address: str | None = None
    pooled: bool = False
    site: str | None = None
    nodes: Annotated[int, Field(gt=0)] = 1
    workers: Annotated[int, Field(gt=0)] = 2
    threads: Annotated[int, Field(gt=0, le=1024)] = 1
    memory_gib: Annotated[float, Field(gt=0)] = 4.0
    attempts: Annotated[int, Field(gt=0)] = 4
    scratch: ExpandedPath | None = None


class Database(Section):
    """Postgres: the embedded default, or a server of yours."""

    dsn: str = "embedded"
    password_file: ExpandedPath | None = None
    directory: ExpandedPath | None = None

    @field_validator("dsn")
    @classmethod
    def _holds_no_password(cls, dsn: str) -> str:
        if re.search(r"password\s*=|://[^/@\s]*:[^/@\s]+@", dsn):
            raise ValueError(
                "expected no password in the run file; put it into PGPASSWORD, a libpq password file "
                "or database.password_file"
            )
        return dsn


class Politeness(Section):
    """What the whole run, all workers together, may ask of a survey server."""

    requests_per_second: Annotated[float, Field(gt=0)] = 20.0
    connections: Annotated[int, Field(gt=0)] = 8
    queries_per_minute: Annotated[float, Field(gt=0)] = 60.0
    retries: Annotated[int, Field(ge=0)] = 6
    connect_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    read_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    give_up_after_s: Annotated[float, Field(gt=0)] = 900.0


class Catalogue(Section):
    """The name under which versions are published."""

    name: Name = "photoz"

    @field_validator("name")
    @classmethod
    def _is_no_relation_of_another(cls, name: str) -> str:
        if re.search(r"(_v\d+|_cone)$", name):
            raise ValueError("expected a name that does not end in _cone or in _v and a number")
        return name


class RunFile(Section):
    """A whole, resolved run file."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 137
    output: ExpandedPath = "runs"
    source: Source = Source()
    sandbox: Sandbox = Sandbox()
    samples: Annotated[dict[Name, Sample], Field(min_length=1)]
    images: Images = Images()
    cube: Cube = Cube()
    model: Model = Model()
    target: Target = Target()
    split: Split = Split()
    training: Training = Training()
    search: Search | None = None
    cluster: Cluster = Cluster()
    database: Database = Database()
    politeness: Politeness = Politeness()
    catalogue: Catalogue = Catalogue()

    @model_validator(mode="after")
    def _trains_on_a_sample_it_has(self) -> "RunFile":
        if self.training.sample not in self.samples:
            raise ValueError(
                f"training.sample: expected one of {', '.join(sorted(self.samples))}, "
                f"found {self.training.sample!r}"
            )
        return self

    @property
    def folder(self) -> Path:
        """The run's own folder: ``output/name``."""
        return Path(self.output).resolve() / self.name

    @property
    def scratch_folder(self) -> Path:
        """The folder for what workers may lose: ``cluster.scratch``, or ``scratch`` in the run's own folder."""
        return Path(self.cluster.scratch) if self.cluster.scratch else self.folder / "scratch"

    @property
    def cube_folder(self) -> Path:
        """The folder of the cubes: ``cube.path``, or ``cube`` in the run's own folder."""
        return Path(self.cube.path).resolve() if self.cube.path else self.folder / "cube"

    def cube_path(self, sample: str) -> Path:
        """Return where the cube of `sample` lies: one Zarr group a sample."""
        return self.cube_folder / f"{sample}.zarr"

    def staging_folder(self, stage: str) -> Path:
        """Return where a stage's products wait: on the file system they belong on, since they are renamed."""
        return self.cube_folder / f".staging-{self.name}" if stage == "fetch" else self.folder / "staging"
