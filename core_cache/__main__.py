"""`python -m core_cache`: runs the cache until SIGTERM or SIGINT."""

import sys

from core_cache.options import parse_options


def main() -> int:
    """Runs the cache; gives the exit status."""
    options = parse_options(sys.argv[1:])
    from core_cache.server import run  # after the options: a wrong one is answered at once

    return run(options)


if __name__ == "__main__":
    raise SystemExit(main())
