"""The command `rheostat`. An app that imports the client alone has nothing that it needs."""

import importlib.util
import sys

if importlib.util.find_spec("typer") is None:
    sys.stderr.write("rheostat: the command needs the extra `stream`: pip install '.[stream]' in a checkout\n")
    raise SystemExit(2)
