"""Where jobs run, one file a kind of scheduler; `cluster.sites.batch` is what they have in common."""
