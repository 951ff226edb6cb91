"""What all exporters share: queue, batches, retries, the spool on the disk. An exporter only writes encode and send."""
