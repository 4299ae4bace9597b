"""Files in, objects out: YAML and JSON manifests, workloads, and what is wrong with them."""
