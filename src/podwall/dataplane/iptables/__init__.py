"""iptables and ip6tables: rules to text, text to rules, and which of the two modes a host uses."""
