"""What the sample.toml and the README of every kind of plugin begin with."""

SAMPLE_HEAD = """\
[plugins.@plugin@]
enabled = true
# How often it collects; empty for agent.interval. A run that takes longer than the deadline counts as failed.
interval = ""
deadline = "5s"
# More series than this are dropped and counted.
max_series = 2000
"""

README_HEAD = """\
# @package@

@summary@

```sh
pip install @package@     # where predis-agent is installed
predis-agent plugins list
```

```toml
@sample@```
"""
