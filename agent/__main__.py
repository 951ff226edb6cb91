"""``python -m agent`` is ``predis-agent``."""

from agent.cli import main

main()
