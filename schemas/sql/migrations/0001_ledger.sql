create schema skymill;
comment on schema skymill is 'the ledger of skymill: which unit of which stage of which run is done, and with what receipt';

create table skymill.migration (
    version integer primary key,
    name text not null,
    applied timestamptz not null default now()
);
comment on table skymill.migration is 'schema versions that were applied to this database';
comment on column skymill.migration.version is 'number of the migration';
comment on column skymill.migration.name is 'its file, without .sql';
comment on column skymill.migration.applied is 'when';

create type skymill.unit_state as enum ('pending', 'running', 'done', 'failed');
create type skymill.attempt_outcome as enum ('accepted', 'superseded', 'failed', 'abandoned');

create table skymill.run (
    run_id integer generated always as identity primary key,
    name text not null unique,
    digest text not null,
    run_file jsonb not null,
    code_version text not null,
    packages jsonb not null,
    provenance jsonb not null,
    seed bigint not null,
    created timestamptz not null default now(),
    opened timestamptz not null default now()
);
comment on table skymill.run is 'one named run; a later run file of the same name takes the place of the earlier';
comment on column skymill.run.run_id is 'surrogate key';
comment on column skymill.run.name is 'name in the run file';
comment on column skymill.run.digest is 'SHA-256 of the resolved run file (canonical JSON)';
comment on column skymill.run.run_file is 'resolved run file; it never holds a password';
comment on column skymill.run.code_version is 'version of skymill';
comment on column skymill.run.packages is 'versions of the packages that shape a result';
comment on column skymill.run.provenance is 'everything the driver said of itself';
comment on column skymill.run.seed is 'seed of every random choice';
comment on column skymill.run.created is 'when the run was opened first';
comment on column skymill.run.opened is 'when the run was opened last';

create table skymill.unit (
    run_id integer not null references skymill.run on delete cascade,
    stage text not null,
    key text not null,
    inputs text not null,
    state skymill.unit_state not null default 'pending',
    attempt integer not null default 0 check (attempt >= 0),
    receipt_attempt integer,
    error text,
    primary key (run_id, stage, key),
    unique (run_id, stage, key, state),
    check ((state = 'done') = (receipt_attempt is not null)),
    check (state <> 'running' or attempt > 0)
);
comment on table skymill.unit is 'one piece of the work of a stage';
comment on column skymill.unit.run_id is 'run';
comment on column skymill.unit.stage is 'pull, fetch, train, infer, publish ...';
comment on column skymill.unit.key is 'name within the stage, such as spectro/00012';
comment on column skymill.unit.inputs is 'digest of everything the result depends on, as last planned';
comment on column skymill.unit.state is 'done if and only if there is a receipt (both directions are foreign keys)';
comment on column skymill.unit.attempt is 'number of the newest attempt: the fencing token';
comment on column skymill.unit.receipt_attempt is 'attempt whose receipt was accepted';
comment on column skymill.unit.error is 'message of the newest failure';

create table skymill.attempt (
    run_id integer not null,
    stage text not null,
    key text not null,
    attempt integer not null check (attempt > 0),
    inputs text not null,
    worker text,
    started timestamptz not null default clock_timestamp(),
    ended timestamptz,
    outcome skymill.attempt_outcome,
    error text,
    primary key (run_id, stage, key, attempt),
    foreign key (run_id, stage, key) references skymill.unit on delete cascade,
    check ((ended is null) = (outcome is null))
);
create index attempt_open on skymill.attempt (run_id) where outcome is null;
comment on table skymill.attempt is 'every time a unit was handed out';
comment on column skymill.attempt.run_id is 'run';
comment on column skymill.attempt.stage is 'stage';
comment on column skymill.attempt.key is 'unit';
comment on column skymill.attempt.attempt is 'counts from 1';
comment on column skymill.attempt.inputs is 'digest of the inputs it was handed out with';
comment on column skymill.attempt.worker is 'who did it, as the receipt says';
comment on column skymill.attempt.started is 'when it was handed out';
comment on column skymill.attempt.ended is 'when the driver learned how it ended; null while it runs';
comment on column skymill.attempt.outcome is
    'accepted; superseded: a newer attempt had the right to the result; failed; abandoned: its driver died';
comment on column skymill.attempt.error is 'message, if it failed';

create table skymill.receipt (
    run_id integer not null,
    stage text not null,
    key text not null,
    attempt integer not null,
    inputs text not null,
    rows bigint not null check (rows >= 0),
    bytes bigint not null check (bytes >= 0),
    seconds double precision not null,
    digest text not null,
    products jsonb not null,
    facts jsonb not null,
    worker text not null,
    ended timestamptz not null default clock_timestamp(),
    unit_state skymill.unit_state not null default 'done' check (unit_state = 'done'),
    primary key (run_id, stage, key),
    unique (run_id, stage, key, attempt),
    foreign key (run_id, stage, key, attempt) references skymill.attempt on delete cascade,
    foreign key (run_id, stage, key, unit_state) references skymill.unit (run_id, stage, key, state)
        on delete cascade deferrable initially deferred
);
alter table skymill.unit add foreign key (run_id, stage, key, receipt_attempt)
    references skymill.receipt (run_id, stage, key, attempt) deferrable initially deferred;
comment on table skymill.receipt is 'what a done unit left behind';
comment on column skymill.receipt.run_id is 'run';
comment on column skymill.receipt.stage is 'stage';
comment on column skymill.receipt.key is 'unit';
comment on column skymill.receipt.attempt is 'attempt that made it';
comment on column skymill.receipt.inputs is 'digest of the inputs it was made from';
comment on column skymill.receipt.rows is 'rows';
comment on column skymill.receipt.bytes is 'bytes of its products';
comment on column skymill.receipt.seconds is 'time the worker took [s]';
comment on column skymill.receipt.digest is 'names the content: the same content has the same digest';
comment on column skymill.receipt.products is 'files: staged, final, bytes, sha256';
comment on column skymill.receipt.facts is 'small numbers of the stage';
comment on column skymill.receipt.worker is 'who did it';
comment on column skymill.receipt.ended is 'when it was accepted';
comment on column skymill.receipt.unit_state is 'always done: ties the receipt to the state of its unit';

create table skymill.object_failure (
    run_id integer not null,
    stage text not null,
    key text not null,
    attempt integer not null,
    sample text not null,
    "row" bigint not null check ("row" >= 0),
    id numeric(20) not null,
    status smallint not null,
    reason text not null,
    permanent boolean not null,
    detail text not null,
    primary key (run_id, stage, key, sample, "row"),
    foreign key (run_id, stage, key, attempt) references skymill.receipt (run_id, stage, key, attempt)
        on delete cascade
);
comment on table skymill.object_failure is 'objects that could not be had, as the receipts in force name them';
comment on column skymill.object_failure.run_id is 'run';
comment on column skymill.object_failure.stage is 'stage';
comment on column skymill.object_failure.key is 'unit';
comment on column skymill.object_failure.attempt is 'attempt that met it';
comment on column skymill.object_failure.sample is 'sample';
comment on column skymill.object_failure."row" is 'row of the cube';
comment on column skymill.object_failure.id is 'key of the object (specobjid passes 2**63)';
comment on column skymill.object_failure.status is 'code, as in the status array of the cube';
comment on column skymill.object_failure.reason is 'the code in words';
comment on column skymill.object_failure.permanent is 'asking again would be in vain';
comment on column skymill.object_failure.detail is 'what was seen';
