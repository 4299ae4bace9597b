"""Watching: what an API server says, as events.

A :class:`~podwall.agent.watch.reflector.Reflector` follows one kind of object. It lists it to the
end, watches from there, and lists anew only when the server has forgotten what came after; what it
learns goes to a :class:`podwall.agent.feed.Feed` at once. A change is never missed, whatever breaks
on the way: the resourceVersion moves only over what was understood and handed on.

From the outside in: ``credentials`` (who we are and where the server is; ``kubeconfig`` is the
child process that reads kubeconfigs), ``client`` and ``lines`` (requests and streams, errors in our
own words), ``wire`` and ``typed`` (bytes to values), ``reflector`` with its ``backoff``.
"""
