"""``python -m bpfctl``."""

from bpfctl.cli.main import run

if __name__ == "__main__":
    run()
