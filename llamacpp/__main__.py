"""``python -m llamacpp``: the command line."""

from llamacpp.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
