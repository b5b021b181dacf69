"""``python -m bpfctl``."""

from bpfctl.cli.app.main import run

if __name__ == "__main__":
    run()
