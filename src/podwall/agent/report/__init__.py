"""How an agent tells what it does: logs, metrics, probes over HTTP, and Kubernetes Events."""
