"""The lab: pods as network namespaces, real packets, on one machine."""
