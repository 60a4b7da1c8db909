"""Lists out: one file a codebase, each with the label order, the separators and the names it expects."""
