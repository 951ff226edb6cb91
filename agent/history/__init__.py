"""What series were: the newest rows in memory, the rest on the disk or in Prometheus."""
