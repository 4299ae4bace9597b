"""A lab that is a small cluster: an API server, the parts that follow it, and an agent per node.

One process *leads* the lab. It lives in the lab's user, mount and process namespaces, so that it
ends with the lab, and in the network of whoever started the lab, so that their kubectl reaches it.
In it are the API server (:mod:`podwall.lab.apiserver`), the controllers of workloads
(:mod:`~podwall.lab.cluster.workloads`), and the :mod:`~podwall.lab.cluster.kubelet`, which
schedules pods, gives them addresses, has the holder (:mod:`podwall.lab.holder`) build them, and
reports. It starts a real ``podwall agent`` for each node and starts it again when it ends
(:mod:`~podwall.lab.cluster.agents`).

Nothing here enforces anything, and nothing here is asked when an agent enforces: agents know the
cluster from the API server alone, as they do anywhere.
"""
