"""The agent: keeps the kernel of one node at what an API server says, in milliseconds.

Watches (an event loop) decode what the API server tells and hand it over as events; the reconciler
(a thread of its own) takes them in, works out what they change, and changes that in the kernel. The
loop never waits for the kernel, the reconciler never for the network. What both say of themselves
are the frozen values of :mod:`podwall.agent.status`.
"""
