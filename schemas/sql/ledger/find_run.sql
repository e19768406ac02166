-- Create the run, or find it by name and store its newest run file.
insert into skymill.run (name, digest, run_file, code_version, packages, provenance, seed)
values (%(name)s, %(digest)s, %(run_file)s, %(code_version)s, %(packages)s, %(provenance)s, %(seed)s)
on conflict (name) do update set
    digest = excluded.digest,
    run_file = excluded.run_file,
    code_version = excluded.code_version,
    packages = excluded.packages,
    provenance = excluded.provenance,
    seed = excluded.seed,
    opened = now()
returning run_id;
