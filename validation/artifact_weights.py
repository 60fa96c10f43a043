"""The packaged weights of the artifact network."""

from pathlib import Path

ARTIFACT_WEIGHTS = Path(__file__).parent / "learned" / "weights"
WEIGHTS_FILE, RECIPE_FILE, CURVE_FILE = "artifacts.safetensors", "recipe.json", "curve.csv"
