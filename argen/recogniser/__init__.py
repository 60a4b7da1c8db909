"""The recogniser of dynamic expressions (after the DuSE abstract) and its scores."""
