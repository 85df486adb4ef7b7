"""One file per stage of dvc.yaml: load the params, call one function, write the outputs.

Importing it puts this checkout's `src` first, for this process and those it starts: in the temporary clones of
`dvc exp run --temp` and `--queue` the installed package would be the main checkout's, not the experiment's.
"""

import os
import sys
from pathlib import Path

_SOURCE = str(Path(__file__).resolve().parents[1] / "src")
sys.path.insert(0, _SOURCE)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_SOURCE, os.environ.get("PYTHONPATH"))))
