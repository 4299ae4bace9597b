"""podwall enforces Kubernetes NetworkPolicy with iptables and ipset, and explains every verdict."""

__version__ = "0.1.0"
