"""What policies mean: the oracle (evaluate) and what the compiler works from (resolve)."""
