import sys
from pathlib import Path

# pairs_factory lies with the tests of the diagnostics.
sys.path.insert(0, str(Path(__file__).parents[1] / "diagnostics"))
