"""Denied packets by name: what the kernel logs is read, named, kept and told.

:class:`~podwall.agent.denied.watch.DeniedPackets` is the thread that reads and names,
:class:`~podwall.agent.denied.record.Record` what it keeps: the last denials
(:mod:`~podwall.agent.denied.ring`), how often each pair was denied
(:mod:`~podwall.agent.denied.tally`), and what audited policies would have denied
(:mod:`~podwall.agent.denied.auditing`), which outlives the agent.
"""
